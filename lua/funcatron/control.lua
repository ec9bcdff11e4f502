--- Control messages of a Frontend: what it tells the Tron, and what it does on a word of the Tron.

local cjson = require "cjson"
local frame = require "funcatron.stomp.frame"
local id = require "funcatron.id"
local link = require "funcatron.link"
local pending = require "funcatron.pending"
local routes = require "funcatron.routes"

local decode = cjson.decode
local encode = cjson.encode
local floor = math.floor
local log = ngx.log
local next = next
local now = ngx.now
local pcall = pcall
local setmetatable = setmetatable
local tonumber = tonumber
local type = type

local ERR, NOTICE, WARN = ngx.ERR, ngx.NOTICE, ngx.WARN

local _M = { VERSION = "0.1.0" }
local Control = {}
Control.__index = Control

local MESSAGE_VERSION = 1
local FIREHOSE = "funcatron.firehose"
local DEAD_LETTER = "/amq/queue/funcatron.dead-letter"


--- A Frontend's side of the control queue. `who`: {id, instance, hostname, pid, port}; `die`: what to do when told so.
function _M.new(config, who, die)
    local self = setmetatable({
        config = config, who = who, die = die,
        routes = routes.new(), routes_version = nil, routes_from = nil, routes_at = nil,
        current = false, -- whether the table came over the connection that there is: only then it routes directly
        published = {}, -- messages sent since the start, by the queue that they were for
        tron = nil, ignored = 0, VERSION = _M.VERSION,
    }, Control)
    self.link = link.new(config, who.id, {
        up = function()
            self.current, self.routes_version = false, nil -- changes may have been missed
            self:tell("awake")
        end,
        beat = function() self:tell("heartbeat") end,
        leave = function() self:tell("died") end,
        message = function(headers, body) self:handle(headers, body) end,
    })
    return self
end


local function at_ms()
    return floor(now() * 1000)
end


--- Send `awake`, `heartbeat` or `died` to the Tron's control queue.
function Control:tell(action)
    local who, body = self.who, {}
    body.action, body.version, body.type = action, MESSAGE_VERSION, "frontend"
    body["msg-id"], body.from, body.at = id.uuid(), who.id, at_ms()
    body["instance-id"] = who.id
    if action ~= "died" then
        body["reply-to"] = self.link.queue
        body.host_info = { hostname = who.hostname, pid = who.pid, worker = who.worker, instance = who.instance,
            version = _M.VERSION, routing = self.config.routing, waiting = pending.waiting() }
        body["routes-version"] = self.routes_version
    end
    if action == "heartbeat" and next(self.published) then
        body.published = self.published
    end
    self.link:send(frame.encode("SEND", {
        destination = "/amq/queue/" .. self.config.tron_queue,
        ["content-type"] = "application/json",
        action = action,
    }, encode(body)))
end


--- Count a message to a func queue, or, without one, to the firehose.
function Control:count(queue)
    queue = queue or FIREHOSE
    self.published[queue] = (self.published[queue] or 0) + 1
end


-- Keep what cannot be handled where it can be listed. Broadcasts reach every Frontend: those are only counted.
local function dead_letter(self, headers, body, reason)
    self.ignored = self.ignored + 1
    log(WARN, "message is not handled: ", reason)
    if headers.subscription == "broadcast" then
        return
    end
    self.link:send(frame.encode("SEND", {
        destination = DEAD_LETTER, persistent = "true", ["content-type"] = headers["content-type"],
        action = headers.action, reason = reason, from = self.who.id, at = ("%.0f"):format(at_ms()),
    }, body))
end


local actions = {}


-- A table that is older than what is here is ignored, as long as the same Tron speaks.
function actions.route(self, message)
    local version = tonumber(message["routes-version"])
    if version and self.routes_version and message.from == self.routes_from and version < self.routes_version then
        return
    end
    self.routes = routes.new(message.routes)
    self.routes_version, self.routes_from, self.routes_at = version, message.from, message.at
    self.current = true
    log(NOTICE, "route table ", version or "?", " with ", #self.routes.list, " routes from ", message.from)
    if self.routes.left_out > 0 then
        log(ERR, self.routes.left_out, " routes of the table make no sense and are left out")
    end
    self:tell("heartbeat") -- what was sent by the old table is in its queues before this: now they may go
end


actions["resend-awake"] = function(self)
    self:tell("awake")
end


actions["tron-info"] = function(self, message)
    self.tron = message["tron-host"]
end


-- For one worker by its id, or for all of an instance.
function actions.die(self, message)
    local whom = message["instance-id"]
    if type(whom) == "string" and (whom == self.who.id or whom == self.who.instance) then
        log(NOTICE, "told to die by ", message.from)
        self.die()
    end
end


-- An answer without (our) correlation id: written by hand, or by an older Runner that knows only the body's id.
function actions.answer(_, message, body)
    local request = message["request-id"]
    if type(request) ~= "string" or not pending.wake(request, body) then
        pending.drop(request)
    end
end


--- Handle a message that is not the answer to a waiting request.
function Control:handle(headers, body)
    if headers.action == "answer" and headers["correlation-id"] then
        return pending.drop(headers["correlation-id"])
    end
    local ok, message = pcall(decode, body)
    if not ok or type(message) ~= "table" then
        return dead_letter(self, headers, body, "not a JSON object")
    end
    local act = type(message.action) == "string" and actions[message.action]
    if not act then
        return dead_letter(self, headers, body, "unknown action")
    end
    return act(self, message, body)
end

return _M
