--- A STOMP 1.2 client for RabbitMQ, with the module name, methods and options of lua-resty-rabbitmqstomp.
--
-- Scripts written for that library run on this one. What differs, all of it for the better:
-- * frames are read by `content-length`, so a binary body with NULs arrives whole; `receive` returns the body alone,
--   without the NUL (and line feed) that ends the frame;
-- * header names and values are escaped as STOMP 1.2 asks, and the caller's header table is left as it is;
-- * `send` with a `receipt` waits for that RECEIPT; messages that arrive meanwhile are kept for `receive`;
-- * an ERROR frame is `nil, err` wherever it arrives.
-- For phases with cosockets: rewrite, access, content, timers.

local frame = require "funcatron.stomp.frame"

local select = select
local setmetatable = setmetatable
local tcp = ngx.socket.tcp
local tostring = tostring
local type = type

local _M = { _VERSION = "1.0" }
local mt = { __index = _M }

local STATE_CONNECTED = 1
local READ_BYTES = 64 * 1024
local DEFAULTS = { username = "guest", password = "guest", vhost = "/" }
local NOT_INITIALIZED = "not initialized"


local function decoder_for(opts)
    return frame.decoder({
        head = opts.max_head, body = opts.max_body, salt = opts.salt, wanted = opts.wanted,
    })
end


--- A client that is not connected yet. `opts`:
-- `username`, `password`, `vhost`: guest, guest and / if absent;
-- `trailing_lf`: accepted for old scripts; frames may end in a line feed or not, whatever it says;
-- beyond the library: `heartbeat` (value of the `heart-beat` header), `max_head` and `max_body` (limits in bytes),
-- `salt` and `wanted` (see the codec's decoder; for readers of frames), `ssl`, `ssl_verify` (on unless false) and
-- `server_name`.
function _M.new(_, opts)
    opts = opts or DEFAULTS
    local sock, err = tcp()
    if not sock then
        return nil, err
    end
    return setmetatable({
        sock = sock,
        opts = opts,
        decoder = decoder_for(opts),
        kept = {}, -- MESSAGE frames that arrived while something else was awaited
        kept_first = 1,
        kept_last = 0,
    }, mt)
end


--- Time-out of the operations to come, in ms.
function _M:set_timeout(timeout)
    local sock = self.sock
    if not sock then
        return nil, NOT_INITIALIZED
    end
    return sock:settimeout(timeout)
end


--- Time-outs of connecting, sending and receiving, in ms.
function _M:set_timeouts(connect, send, read)
    local sock = self.sock
    if not sock then
        return nil, NOT_INITIALIZED
    end
    return sock:settimeouts(connect, send, read)
end


--- Send bytes or a table of them as they are: a frame that is encoded already, or a heart-beat.
function _M:send_raw(data)
    local sock = self.sock
    if not sock then
        return nil, NOT_INITIALIZED
    end
    return sock:send(data)
end


--- Read what has arrived, up to 64 kB; nil and the socket's error if nothing comes in time.
-- With `next_frame`, for who reads frames by himself.
function _M:fill()
    local sock = self.sock
    if not sock then
        return nil, NOT_INITIALIZED
    end
    local data, err = sock:receiveany(READ_BYTES)
    if not data then
        return nil, err
    end
    self.decoder:feed(data)
    return true
end


--- The next frame that is already here: command, headers, body, length; see the decoder's `next`.
function _M:next_frame(into)
    return self.decoder:next(into)
end


-- Wait for a frame of any kind.
local function read_frame(self)
    while true do
        local command, headers, body = self.decoder:next()
        if command then
            return command, headers, body
        end
        if headers then
            return nil, "broken stream: " .. headers
        end
        local ok, err = self:fill()
        if not ok then
            return nil, err
        end
    end
end


--- What an ERROR frame says, as one line.
function _M.reason(headers, body)
    local message = headers.message or "ERROR frame"
    if body and body ~= "" then
        return message .. ": " .. (body:gsub("%s+$", ""):gsub("[%c]+", " "))
    end
    return message
end


local function keep(self, headers, body)
    local last = self.kept_last + 1
    self.kept_last = last
    self.kept[last] = { headers, body }
end


local function login(self)
    local opts = self.opts
    local headers = {
        ["accept-version"] = "1.2",
        login = opts.username or DEFAULTS.username,
        passcode = opts.password or DEFAULTS.password,
        host = opts.vhost or DEFAULTS.vhost,
        ["heart-beat"] = opts.heartbeat,
    }
    local ok, err = self:send_raw(frame.encode("CONNECT", headers))
    if not ok then
        return nil, err
    end
    local command, answer, body = read_frame(self)
    if not command then
        return nil, answer
    end
    if command ~= "CONNECTED" then
        return nil, _M.reason(answer, body)
    end
    self.state = STATE_CONNECTED
    self.session = answer
    return frame.encode(command, answer, body)
end


-- Older scripts give one table: {host, port, username, password, vhost}.
local function connect_by_table(self, where)
    local opts = {}
    for name, value in pairs(self.opts) do
        opts[name] = value
    end
    for _, name in ipairs({ "username", "password", "vhost", "trailing_lf" }) do
        if where[name] ~= nil then
            opts[name] = where[name]
        end
    end
    self.opts = opts
    return self:connect(where.host or "127.0.0.1", where.port or 61613)
end


-- lua-resty-core asserts that a handshake which ended without a pause went well, and raises where it did not.
-- (To ask it for no session would leave that assertion out, and the check of the certificate with it.)
local function handshake(sock, name, verify)
    local returned, session, err = pcall(sock.sslhandshake, sock, nil, name, verify)
    if not returned then
        return nil, "it was refused"
    end
    return session, err
end


--- Connect and log in: host and port (or a table of both), and options for the socket as `tcpsock:connect` has them.
-- Returns the CONNECTED frame's bytes, or 1 for a pooled connection; nil and an error otherwise.
function _M:connect(...)
    local sock = self.sock
    if not sock then
        return nil, NOT_INITIALIZED
    end
    local where = ...
    if select("#", ...) == 1 and type(where) == "table" then
        return connect_by_table(self, where)
    end
    local ok, err = sock:connect(...)
    if not ok then
        return nil, "failed to connect: " .. err
    end
    local opts = self.opts
    if opts.ssl then
        ok, err = handshake(sock, opts.server_name or (...), opts.ssl_verify ~= false)
        if not ok then
            return nil, "failed to do the TLS handshake: " .. err
        end
    end
    self.decoder = decoder_for(opts)
    self.kept, self.kept_first, self.kept_last = {}, 1, 0
    local reused = sock:getreusedtimes()
    if reused and reused > 0 then
        self.state = STATE_CONNECTED
        return 1
    end
    return login(self)
end


--- Publish a message. With a `receipt` in `headers` it returns when the broker has confirmed it.
function _M:send(msg, headers)
    local ok, err = self:send_raw(frame.encode("SEND", headers, msg))
    if not ok then
        return nil, err
    end
    local receipt = headers.receipt
    if receipt == nil then
        return ok
    end
    while true do
        local command, answer, body = read_frame(self)
        if not command then
            return nil, answer
        elseif command == "RECEIPT" then
            if answer["receipt-id"] == tostring(receipt) then
                return frame.encode(command, answer, body)
            end
        elseif command == "MESSAGE" then
            keep(self, answer, body)
        else
            return nil, _M.reason(answer, body)
        end
    end
end


function _M:subscribe(headers)
    return self:send_raw(frame.encode("SUBSCRIBE", headers))
end


function _M:unsubscribe(headers)
    return self:send_raw(frame.encode("UNSUBSCRIBE", headers))
end


--- The body of the next message. Third, beside the error that is nil then, come the message's headers.
function _M:receive()
    local first = self.kept_first
    if first <= self.kept_last then
        local message = self.kept[first]
        self.kept[first] = nil
        self.kept_first = first + 1
        return message[2], nil, message[1]
    end
    while true do
        local command, headers, body = read_frame(self)
        if not command then
            return nil, headers
        elseif command == "MESSAGE" then
            return body, nil, headers
        elseif command ~= "RECEIPT" then
            return nil, _M.reason(headers, body)
        end
    end
end


--- Put the connection into nginx's pool; arguments as `tcpsock:setkeepalive` has them.
-- Refused while a frame is half read or unread messages are kept: the next user would get them.
function _M:set_keepalive(...)
    local sock = self.sock
    if not sock then
        return nil, NOT_INITIALIZED
    end
    if self.state ~= STATE_CONNECTED then
        return nil, "cannot be reused in the current connection state: " .. (self.state or "nil")
    end
    if self.kept_first <= self.kept_last or not self.decoder:settle() then
        return nil, "cannot be reused with unread frames"
    end
    self.state = nil
    return sock:setkeepalive(...)
end


function _M:get_reused_times()
    local sock = self.sock
    if not sock then
        return nil, NOT_INITIALIZED
    end
    return sock:getreusedtimes()
end


--- Say DISCONNECT, wait for the broker's receipt, close.
function _M:close()
    local sock = self.sock
    if not sock then
        self.state = nil
        return nil, NOT_INITIALIZED
    end
    if self.state == STATE_CONNECTED then
        self.state = nil
        if self:send_raw(frame.encode("DISCONNECT", { receipt = "disconnect" })) then
            repeat
                local command, headers = read_frame(self)
            until not command or command == "ERROR"
                or (command == "RECEIPT" and headers["receipt-id"] == "disconnect")
        end
    end
    return sock:close()
end


--- Close at once, without a word.
function _M:abandon()
    self.state = nil
    return self.sock and self.sock:close()
end

return _M
