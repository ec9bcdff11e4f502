--- The link of a worker with the broker: one STOMP connection, owned by light threads of a timer.
--
-- A cosocket belongs to who opened it, so requests never touch it: they append frames to an array and wake the writer,
-- which sends the whole array at once; a reader wakes the request that a frame is for. A third thread ticks: it sends
-- a ping to the link's own reply queue and judges by the echo. A broker that is short of memory or disk stops
-- reading and tells a STOMP client nothing: then the echo stays out, and the link counts as *stalled*.
--
-- States: down → connected (subscribed) → up (an echo came) ⇄ stalled; any → down; at the end: leaving → left.
-- Down and stalled fail every waiting request at once.

local frame = require "funcatron.stomp.frame"
local hosts = require "funcatron.hosts"
local outbox = require "funcatron.outbox"
local pending = require "funcatron.pending"
local stomp = require "resty.rabbitmqstomp"

local encode = frame.encode
local exiting = ngx.worker.exiting
local ipairs = ipairs
local kill = ngx.thread.kill
local log = ngx.log
local max = math.max
local min = math.min
local now = ngx.now
local pcall = pcall
local random = math.random
local setmetatable = setmetatable
local sleep = ngx.sleep
local spawn = ngx.thread.spawn
local sub = string.sub
local timer_at = ngx.timer.at
local tonumber = tonumber
local tostring = tostring
local wait_any = ngx.thread.wait
local wake = pending.wake

local ERR, NOTICE, WARN = ngx.ERR, ngx.NOTICE, ngx.WARN

local _M = {}
local Link = {}
Link.__index = Link

_M.BROADCASTS = "/exchange/funcatron.frontends"

local PING = "!ping" -- not a possible request id
local PING_INTERVAL, TICK = 1, 0.1 -- s
local LEAVE = 2 -- s for the broker to confirm a disconnect
local BACKOFF_FIRST, BACKOFF_LAST = 0.1, 1 -- s
local CONNECT_MS, LOGIN_MS, SEND_MS = 2000, 5000, 60000
-- headers of the broker's frames that are looked at
local WANTED = {
    ["action"] = true, ["content-length"] = true, ["content-type"] = true, ["correlation-id"] = true,
    ["heart-beat"] = true, ["message"] = true, ["receipt-id"] = true, ["subscription"] = true,
}
local REPEAT_LOG = 30 -- s


--- A link that is not started. `config`: see config.lua; `id`: of this worker; `on`: functions
-- `up()`, `message(headers, body)`, `beat()` every `config.heartbeat` s, `leave()` just before the end.
function _M.new(config, id, on)
    return setmetatable({
        config = config, id = id, on = on,
        state = "down", up = false,
        queue = nil, sessions = 0, attempts = 0,
        outbox = outbox.new(), client = nil, threads = nil,
        ping_frame = nil, ping = nil, ping_at = 0, last_ping = 0,
        drain = false, leaving = false, busy = function() return 0 end,
        sent = 0, received = 0, received_before = 0, heard_at = 0, stalls = 0, connects = 0,
        logged = nil, logged_at = 0,
    }, Link)
end


-- A broker that stays away is not worth a line every second.
local function complain(self, reason)
    if reason ~= self.logged or now() - self.logged_at > REPEAT_LOG then
        log(ERR, "link to ", self.config.host, ":", self.config.port, ": ", reason)
        self.logged, self.logged_at = reason, now()
    end
end


--- Queue the bytes of a whole frame. From any phase; never yields.
function Link:send(bytes)
    self.outbox:put(bytes)
end


--- Queue one frame that is given as an array of strings.
function Link:send_pieces(pieces)
    self.outbox:put_pieces(pieces)
end


--- Frames queued since the worker's start.
function Link:frames_sent()
    return self.sent + self.outbox.frames
end


local function turn(self, state)
    if state ~= self.state then
        log(NOTICE, "link is ", state, " (was ", self.state, ")")
        self.state = state
    end
    self.up = state == "up"
end


local function write(self)
    local box, client = self.outbox, self.client
    local idle = self.beat_out > 0 and self.beat_out / 2 or 60
    while true do
        if not box:wait(idle) and self.beat_out > 0 then
            box:put(frame.EOL)
        end
        if box.count > 0 then
            local has_ping = self.ping == "queued"
            local ok, err = box:flush(client)
            if not ok then
                return "failed to send: " .. err
            end
            if has_ping and self.ping == "queued" then -- unless the echo was faster
                self.ping, self.ping_at = "sent", now()
            end
        end
    end
end


local function echoed(self)
    self.ping = nil
    if self.state == "connected" then
        turn(self, "up")
        self.attempts, self.logged = 0, nil
        self.on.up()
    elseif self.state == "stalled" then
        turn(self, "up")
    end
end


-- The body may have a salt, which a JSON parser does not see; who else gets it, gets it without.
local function deliver(self, headers, body, length)
    local id = headers["correlation-id"]
    if id == PING then
        return echoed(self)
    end
    if id and wake(id, body) then
        return
    end
    local ok, err = pcall(self.on.message, headers, sub(body, 1, length))
    if not ok then
        log(ERR, "failed to handle a message: ", err)
    end
end


-- Take every frame that is here. nil and a reason when the link is over.
local function take(self)
    local client, headers = self.client, self.scratch
    while true do
        local command, got, body, length = client:next_frame(headers)
        if not command then
            return got == nil or nil, got and "broken stream: " .. got
        end
        self.received = self.received + 1
        if command == "MESSAGE" then
            deliver(self, got, body, length)
        elseif command == "RECEIPT" then
            if not wake(got["receipt-id"], "") then
                self.receipts[got["receipt-id"] or ""] = true
            end
        else
            return nil, command .. ": " .. stomp.reason(got, sub(body, 1, length))
        end
        if client.decoder:idle() then
            return true
        end
    end
end


local function read(self)
    while true do
        local ok, err = self.client:fill()
        if not ok then
            return err == "timeout" and "the broker is silent" or "failed to receive: " .. err
        end
        ok, err = take(self)
        if not ok then
            return err
        end
    end
end


local function stalled(self, at)
    local limit, since = self.config.stall, self.outbox.sending_since
    if self.received ~= self.received_before then -- a busy broker is none that is stalled
        self.received_before, self.heard_at = self.received, at
    end
    return (self.ping == "sent" and at - max(self.ping_at, self.heard_at) > limit)
        or (since ~= nil and at - since > limit)
end


local function judge(self, at)
    if stalled(self, at) then
        if self.state ~= "stalled" then
            turn(self, "stalled")
            self.stalls = self.stalls + 1
            complain(self, "stalled: the broker reads nothing (an alarm for memory or disk?)")
            pending.fail_all("stalled")
            self.outbox:drop()
            self.ping = self.ping == "sent" and "sent" or nil
        end
    elseif not self.ping and at - self.last_ping >= PING_INTERVAL then
        self.ping, self.last_ping = "queued", at
        self:send(self.ping_frame)
    end
end


local function drained(self)
    return self.busy() == 0 and pending.waiting() == 0
        and (self.state == "stalled" or self.outbox:empty())
end


-- The order of leaving: nothing waits any more; say so to the Tron; unsubscribe; disconnect; close when the broker
-- has confirmed it. The reader and the writer go on meanwhile: to kill them would close the socket.
local function leave(self)
    self.leaving = true
    turn(self, "leaving") -- a request that comes now is refused
    self.on.leave()
    self:send(encode("UNSUBSCRIBE", { id = "reply" }))
    self:send(encode("UNSUBSCRIBE", { id = "broadcast" }))
    self:send(encode("DISCONNECT", { receipt = "disconnect" }))
    local limit = now() + LEAVE
    repeat
        sleep(TICK / 4)
    until self.receipts.disconnect or now() > limit
end


local function tick(self)
    local last_beat = now()
    while true do
        sleep(TICK)
        local at = now()
        if (exiting() or self.drain) and drained(self) then
            return leave(self)
        end
        judge(self, at)
        if self.up and at - last_beat >= self.config.heartbeat then
            last_beat = at
            self.on.beat()
        end
    end
end


-- What both sides agreed on, in s (STOMP 1.2, "Heart-beating").
local function agree_heartbeats(self, wanted_ms, answer)
    local theirs, ours = (answer or "0,0"):match("^(%d+),(%d+)$")
    theirs, ours = tonumber(theirs) or 0, tonumber(ours) or 0
    self.beat_out = (wanted_ms > 0 and ours > 0) and max(wanted_ms, ours) / 1000 or 0
    self.beat_in = (wanted_ms > 0 and theirs > 0) and max(wanted_ms, theirs) / 1000 or 0
end


local function subscribe(self, client)
    client:subscribe({ id = "reply", destination = "/queue/" .. self.queue, ack = "auto", exclusive = "true",
        ["auto-delete"] = "true", durable = "false", receipt = "reply" })
    client:subscribe({ id = "broadcast", destination = _M.BROADCASTS, ack = "auto", receipt = "broadcast" })
    while not (self.receipts.reply and self.receipts.broadcast) do
        local ok, err = client:fill()
        if not ok then
            return nil, "failed to subscribe: " .. err
        end
        ok, err = take(self)
        if not ok then
            return nil, "failed to subscribe: " .. err
        end
    end
    return true
end


local function connect(self)
    local config = self.config
    local beat_ms = config.stomp_heartbeat * 1000
    local client, err = stomp:new({
        username = config.user, password = config.password, vhost = config.vhost,
        heartbeat = beat_ms .. "," .. beat_ms, salt = true, wanted = WANTED,
        ssl = config.tls, ssl_verify = config.tls_verify, server_name = config.tls_name or config.host,
    })
    if not client then
        return nil, err
    end
    client:set_timeouts(CONNECT_MS, LOGIN_MS, LOGIN_MS)
    local ok
    ok, err = client:connect(hosts.resolve(config.host), config.port)
    if not ok then
        client:abandon()
        return nil, err
    end
    agree_heartbeats(self, beat_ms, client.session and client.session["heart-beat"])
    return client
end


local function open(self)
    self.sessions = self.sessions + 1
    -- a queue of its own for each session: the broker may not have noticed yet that the last one is gone
    self.queue = "funcatron.frontend." .. self.id .. (self.sessions > 1 and "." .. self.sessions or "")
    self.receipts, self.scratch = {}, {}
    self.sent = self:frames_sent()
    self.outbox = outbox.new()
    self.ping, self.last_ping = nil, 0
    self.ping_frame = encode("SEND", { destination = "/amq/queue/" .. self.queue, ["correlation-id"] = PING }, "")
    local client, err = connect(self)
    if not client then
        return nil, err
    end
    self.client = client
    local ok
    ok, err = subscribe(self, client)
    if not ok then
        return nil, err
    end
    local silence = self.beat_in > 0 and self.beat_in * 2.5 or 60
    client:set_timeouts(CONNECT_MS, SEND_MS, silence * 1000)
    self.connects = self.connects + 1
    return true
end


-- One connection from its start to its end. Returns why it ended.
local function session(self)
    local ok, err = open(self)
    if not ok then
        return err
    end
    turn(self, "connected")
    local reader, writer, ticker = spawn(read, self), spawn(write, self), spawn(tick, self)
    self.threads = { reader, writer, ticker }
    local _, reason = wait_any(reader, writer, ticker)
    return reason
end


local function close(self)
    for _, thread in ipairs(self.threads or {}) do
        kill(thread)
    end
    if self.client then
        self.client:abandon()
    end
    self.threads, self.client = nil, nil
end


local function run(premature, self)
    if premature then
        return
    end
    local ok, reason = pcall(session, self)
    if not ok then
        reason = "a fault of ours: " .. tostring(reason)
    end
    close(self)
    turn(self, self.leaving and "left" or "down")
    pending.fail_all("down")
    self.outbox:drop()
    if self.leaving or exiting() then
        return
    end
    complain(self, reason)
    local delay = min(BACKOFF_LAST, BACKOFF_FIRST * 2 ^ self.attempts)
    self.attempts = min(self.attempts + 1, 16)
    local started, err = timer_at(delay * (0.5 + random() / 2), run, self)
    if not started then
        log(WARN, "link is not restarted: ", err)
    end
end


--- Start the link; in `init_worker_by_lua`. `busy`: a function that tells how many requests the worker has.
function Link:start(busy)
    self.busy = busy or self.busy
    return timer_at(0, run, self)
end


--- Finish what waits, then disconnect for good.
function Link:finish()
    self.drain = true
end

return _M
