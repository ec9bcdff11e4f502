--- One HTTP request, from nginx to the broker and back: a thin shell over request, pending, link and response.

local builtin = require "funcatron.builtin"
local hop = require "funcatron.hop"
local id = require "funcatron.id"
local pending = require "funcatron.pending"
local request = require "funcatron.request"
local response = require "funcatron.response"
local routes = require "funcatron.routes"
local text = require "funcatron.text"

local byte = string.byte
local clear_header = ngx.req.clear_header
local find = string.find
local format = string.format
local get_headers = ngx.req.get_headers
local get_method = ngx.req.get_method
local is_ascii = text.is_ascii
local log = ngx.log
local now = ngx.now
local read_body = ngx.req.read_body
local quote, quote_once = request.quote, request.quote_once
local setmetatable = setmetatable
local sub = string.sub
local type = type
local var = ngx.var

local ERR = ngx.ERR
local BLANK, UNDERSCORE = byte(" "), byte("_")
local RETRY_AFTER = 1 -- s
local WAITING = " " -- how the access log's variable begins while a request waits

local NO_ROUTE = ',"route":"","queue":"","sha":"'
local NO_WAIT = '"wait":null'

local _M = {}
local Handler = {}
Handler.__index = Handler


--- A handler for the requests of this worker. `control`: see control.lua; `bodies`: see bodies.lua, or nil.
function _M.new(config, control, bodies)
    return setmetatable({
        bodies = bodies, config = config, control = control, link = control.link,
        from = control.who.id,
        direct = config.routing == "direct",
        busy = 0, -- requests under way
        counts = { requests = 0, answered = 0, accepted = 0, unavailable = 0, full = 0, too_large = 0, bad_answer = 0 },
    }, Handler)
end


-- The request's headers by lower-case name. nginx's module gives the table an __index that looks for a missing name
-- in other spellings, which costs more than all the rest of reading them.
local function read_headers()
    return setmetatable(get_headers(0), nil)
end


-- A sane inbound id is kept, unless another request waits under it: then it is told apart by a suffix.
local function choose_id(inbound)
    if type(inbound) == "table" then
        inbound = inbound[1]
    end
    if not inbound or not id.sane(inbound) then
        return id.uuid()
    end
    if pending.taken(inbound) then
        return sub(inbound, 1, 91) .. "~" .. id.uuid()
    end
    return inbound
end


-- nginx would judge an answer by these conditions itself, and turn a Func's 200 into its own 304 or 412.
local CONDITIONS = { "If-Match", "If-None-Match", "If-Modified-Since", "If-Unmodified-Since" }

local function clear_conditions(headers)
    if headers["if-match"] or headers["if-none-match"] or headers["if-modified-since"]
        or headers["if-unmodified-since"] then
        for i = 1, #CONDITIONS do
            clear_header(CONDITIONS[i])
        end
    end
end


-- The part of the access log's line that is known before the answer (see funcatron-http.conf); `host` and `uri` are
-- JSON text. The id comes last (request.lua tells why).
local function describe(host, uri, route, sha, request_id)
    return ',"host":' .. host .. ',"path":' .. uri .. (route and route.described or NO_ROUTE) .. (sha or "")
        .. '","request-id":"' .. request_id
end


local function has_body(headers)
    return headers["content-length"] ~= nil or headers["transfer-encoding"] ~= nil or ngx.req.http_version() >= 2
end


function Handler:unavailable(request_id, detail)
    self.counts.unavailable = self.counts.unavailable + 1
    return response.problem(503, detail, request_id, RETRY_AFTER)
end


-- Nothing can be sent now: say so before a body is read. True if the request has been refused.
function Handler:refuse(request_id)
    if not self.link.up then
        self:unavailable(request_id, "the message broker cannot be reached or takes no messages")
        return true
    end
    if pending.waiting() >= self.config.max_waiting then
        self.counts.full = self.counts.full + 1
        response.problem(503, "too many requests are waiting", request_id, RETRY_AFTER)
        return true
    end
end


-- Send the frame of `ask` and wait. The answer's bytes, or nil when an error has been sent.
function Handler:exchange(ask, timeout)
    local pieces, size = request.frame(ask)
    if not pieces then
        log(ERR, size)
        var.funcatron_log = NO_WAIT .. ask.described
        return response.problem(500, nil, ask.id)
    end
    if size > self.config.max_message then
        self.counts.too_large = self.counts.too_large + 1
        var.funcatron_log = NO_WAIT .. ask.described
        return response.problem(413, "the body is larger than a message may be", ask.id)
    end
    local slot = pending.register(ask.id, self.config.max_waiting)
    if not slot then
        self.counts.full = self.counts.full + 1
        var.funcatron_log = NO_WAIT .. ask.described
        return response.problem(503, "too many requests are waiting", ask.id, RETRY_AFTER)
    end
    var.funcatron_log = WAITING .. NO_WAIT .. ask.described
    self.link:send_pieces(pieces)
    self.control:count(ask.to)
    local sent = now()
    local answer, failure = pending.wait(slot, timeout)
    ask.wait = format('"wait":%.3f', now() - sent)
    var.funcatron_log = ask.wait .. ask.described
    if answer then
        return answer
    end
    if failure ~= "timeout" then
        return self:unavailable(ask.id, failure == "stalled" and "the message broker takes no messages"
            or "the connection to the message broker broke")
    end
    return nil, "timeout"
end


-- Somebody waits for the answer.
function Handler:call(ask)
    local timeout = self.config.request_timeout
    ask.queue, ask.timeout, ask.deadline = self.link.queue, timeout, now() + timeout
    local bytes, late = self:exchange(ask, timeout)
    if not bytes then
        if late then
            response.problem(504, format("no answer within %g s", timeout), ask.id)
        end
        return
    end
    local answer, err = response.parse(bytes)
    if not answer then
        self.counts.bad_answer = self.counts.bad_answer + 1
        log(ERR, "bad answer to request ", ask.id, ": ", err)
        return response.problem(502, "the answer of the Func cannot be sent", ask.id)
    end
    self.counts.answered = self.counts.answered + 1
    if answer.sha and answer.sha ~= ask.sha then
        var.funcatron_log = ask.wait .. describe(ask.host_json, ask.uri_json, ask.route, answer.sha, ask.id)
    end
    if response.send(answer, ask.method, self.bodies) == false then
        return response.problem(502, "the answer of the Func cannot be read", ask.id)
    end
end


-- `Prefer: respond-async` (RFC 7240): 202 once the broker has confirmed the persistent message.
function Handler:enqueue(ask)
    local receipt, late = self:exchange(ask, self.config.request_timeout)
    if receipt then
        self.counts.accepted = self.counts.accepted + 1
        ngx.header["Preference-Applied"] = "respond-async"
        return response.json(202, '{"request-id":"' .. ask.id .. '"}')
    end
    if late then
        self:unavailable(ask.id, "the message broker did not confirm the message")
    end
end


--- Handle the current request; in `content_by_lua`.
function Handler:handle()
    self.busy = self.busy + 1
    self.counts.requests = self.counts.requests + 1
    local headers = read_headers()
    local request_id = choose_id(headers["x-request-id"])
    var.funcatron_request_id = request_id -- from here on the log phase knows that this request is counted
    ngx.header["X-Request-Id"] = request_id

    local joined = var.funcatron_line
    local host, uri, line, decoded = request.line(joined)
    local question = find(uri, "?", 1, true)
    local path = question and sub(uri, 1, question - 1) or uri
    if byte(path) ~= 47 then -- an absolute URI without a path
        path = "/" .. path
    end
    local route = self.control.routes:match(host, path)
    if route and route.split then
        route = routes.choose(route, request_id, headers)
    end
    local sha = route and route.sha
    local ascii = is_ascii(joined)
    local host_json, uri_json = quote(host), quote_once(uri, ascii)
    local described = describe(host_json, uri_json, route, sha, request_id)
    if not route and byte(path, 2) == UNDERSCORE and builtin.answer(self, path) then
        var.funcatron_log = NO_WAIT .. described
        return
    end
    if self:refuse(request_id) then
        var.funcatron_log = NO_WAIT .. described
        return
    end
    local with_body = has_body(headers)
    if with_body then
        var.funcatron_log = NO_WAIT .. described -- for a client that goes away meanwhile
        read_body()
        if self:refuse(request_id) then
            return
        end
    end
    clear_conditions(headers)
    local ask = {
        id = request_id, msg_id = id.uuid(), from = self.from, method = get_method(), host = host, path = path,
        line = line, decoded = decoded, ascii = ascii, route = route, sha = sha,
        host_json = host_json, uri_json = uri_json,
        described = described, wait = nil, bodies = self.bodies, args = question and sub(uri, question + 1),
        headers = headers, has_body = with_body,
        to = self.direct and self.control.current and route and not route.limited and route.queue or nil,
        queue = nil, timeout = nil, deadline = nil,
    }
    if headers.prefer and hop.prefers_async(headers.prefer) then
        return self:enqueue(ask)
    end
    return self:call(ask)
end


--- Answer one of the Frontend's own pages, or 404; in `content_by_lua` of a server that knows no Funcs.
function Handler:status()
    self.busy = self.busy + 1
    local request_id = choose_id(read_headers()["x-request-id"])
    var.funcatron_request_id = request_id
    ngx.header["X-Request-Id"] = request_id
    if not builtin.answer(self, var.uri) then
        response.problem(404, nil, request_id)
    end
end


--- Tidy up after the current request, however it ended; in `log_by_lua`.
function Handler:finish()
    local request_id = var.funcatron_request_id
    if request_id and request_id ~= "" then
        self.busy = self.busy - 1
        -- a slot with that id may be a later request's, for this one may have been sending for long
        if pending.waits(request_id) and byte(var.funcatron_log) == BLANK then
            pending.forget(request_id)
        end
    end
end


--- Answer an error of nginx itself as a problem; in the location that `error_page` names.
function Handler:problem()
    local request_id = var.funcatron_request_id
    if not request_id or request_id == "" then
        self.busy = self.busy + 1
        request_id = choose_id(read_headers()["x-request-id"])
        var.funcatron_request_id = request_id
    end
    ngx.header["X-Request-Id"] = request_id
    if var.funcatron_log == "" then
        var.funcatron_log = NO_WAIT .. describe(quote(var.host or ""), quote_once(var.request_uri or ""), nil, nil,
            request_id)
    end
    local status = ngx.status
    if status == 413 then
        self.counts.too_large = self.counts.too_large + 1
    end
    return response.problem(status, nil, request_id)
end

return _M
