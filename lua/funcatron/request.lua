--- From an HTTP request to the bytes of a `service` message in a STOMP frame.
--
-- The JSON is put together by hand: its keys are fixed, and most values (host, user agent, header names …) come
-- again and again, so their quoted forms are cached. Nothing here yields, so the work tables are shared.

local body = require "funcatron.body"
local cjson = require "cjson"
local frame = require "funcatron.stomp.frame"
local hop = require "funcatron.hop"
local text = require "funcatron.text"

local byte = string.byte
local concat = table.concat
local encode = cjson.encode
local find = string.find
local floor = math.floor
local format = string.format
local get_uri_args = ngx.req.get_uri_args
local gsub = string.gsub
local min = math.min
local now = ngx.now
local pairs = pairs
local sub = string.sub
local type = type
local utf8 = text.utf8
local var = ngx.var

local ALWAYS_HOP = hop.ALWAYS

local _M = {}

local FIREHOSE, FUNCS = "/exchange/funcatron.firehose/", "/exchange/funcatron.funcs/"
local MAX_KEY = 255 -- bytes of an AMQP short string
local CACHE, CACHED_BYTES = 4000, 512


-- A cache that is emptied when it is full: `make` must be a pure function of a string.
local function cached(make)
    local cache, entries = {}, 0
    return function(key)
        local value = cache[key]
        if value == nil then
            value = make(key)
            if #key <= CACHED_BYTES then
                if entries >= CACHE then
                    cache, entries = {}, 0
                end
                cache[key] = value
                entries = entries + 1
            end
        end
        return value
    end
end


-- A value as JSON text; bytes that are not UTF-8 count as Latin-1.
local quote = cached(function(value)
    return encode(utf8(value))
end)


-- The same for values that seldom come twice.
local function quote_once(value)
    return encode(utf8(value))
end


--- The routing key of the firehose: host and raw path, at most 255 bytes.
-- A key that cannot be whole is filled up to 255 with `?`, which no path holds, so that a shorter key is always
-- whole. That is one that had to be cut, or whose path has a `%2F`: RabbitMQ's STOMP plugin takes that for a slash
-- of the key (and knows no other escape), so it cannot be said.
function _M.routing_key(host, path)
    local key = utf8(host .. path)
    local stop = find(key, "%2F", 1, true)
    if not stop then
        if #key <= MAX_KEY then
            return key
        end
        stop = MAX_KEY + 1
    end
    stop = min(stop - 1, MAX_KEY)
    while stop < #key and byte(key, stop + 1) >= 0x80 and byte(key, stop + 1) < 0xC0 do -- not within a character
        stop = stop - 1
    end
    return sub(key, 1, stop) .. ("?"):rep(MAX_KEY - stop)
end


local function escape_key(key)
    return frame.escape((gsub(key, "/", "%%2F")))
end


-- The frame's lines that depend on host and path alone.
local where_lines = cached(function(place)
    local slash = find(place, "/", 1, true)
    local host, path = sub(place, 1, slash - 1), sub(place, slash)
    return "host:" .. frame.escape(utf8(host)) .. "\npath:" .. frame.escape(utf8(path)) .. "\n"
end)

local firehose_line = cached(function(place)
    local slash = find(place, "/", 1, true)
    return "SEND\ndestination:" .. FIREHOSE
        .. escape_key(_M.routing_key(sub(place, 1, slash - 1), sub(place, slash))) .. "\n"
end)

local queue_line = cached(function(queue)
    return "SEND\ndestination:" .. FUNCS .. escape_key(queue) .. "\n"
end)


local parts = {}

-- `,"headers":{…}` of what is not hop-by-hop.
local function headers_json(headers)
    local named = hop.named(headers.connection)
    local n = 0
    for name, value in pairs(headers) do
        if not ALWAYS_HOP[name] and not (named and named[name]) then
            if type(value) == "table" then
                local values = {}
                for i = 1, #value do
                    values[i] = utf8(value[i])
                end
                parts[n + 1], parts[n + 2], parts[n + 3] = quote(name), ":", encode(values)
            else
                parts[n + 1], parts[n + 2], parts[n + 3] = quote(name), ":", quote(value)
            end
            parts[n + 4] = ","
            n = n + 4
        end
    end
    return n == 0 and "" or concat(parts, "", 1, n - 1)
end


local function clean(value)
    if type(value) == "string" then
        return utf8(value)
    elseif type(value) == "table" then
        local values = {}
        for i = 1, #value do
            values[i] = clean(value[i])
        end
        return values
    end
    return value
end


-- Decoded query parameters: value, true (no `=`), or an array of them.
local function args_json(args)
    local decoded = get_uri_args(0)
    local json = encode(decoded)
    if not text.is_utf8(json) then
        local cleaned = {}
        for name, value in pairs(decoded) do
            cleaned[utf8(name)] = clean(value)
        end
        json = encode(cleaned)
    end
    return ',"args":' .. quote_once(args) .. ',"uri-args":' .. json
end


local function optional(key, value)
    if value == nil then
        return ""
    end
    if type(value) == "table" then
        value = value[1]
    end
    return key .. quote(value)
end


local queue_json = cached(function(queue)
    local quoted = encode(queue)
    return ',"reply-to":' .. quoted .. ',"reply-queue":' .. quoted
end)


local last_at, last_at_ms = nil, nil

-- The time in ms as digits; many requests of one turn of the event loop share it.
local function at_ms(at)
    if at ~= last_at then
        last_at, last_at_ms = at, format("%.0f", floor(at * 1000))
    end
    return last_at_ms
end


local function head_json(request, deadline)
    local headers = request.headers
    local args = var.args
    local uri, line, protocol = var.uri, var.request, var.server_protocol
    return '{"action":"service","version":1,"msg-id":"' .. request.msg_id
        .. '","from":' .. quote(request.from) .. ',"at":' .. at_ms(now())
        .. ',"request-id":"' .. request.id .. '"'
        .. (deadline and ',"deadline":' .. deadline .. queue_json(request.queue) or "")
        .. ',"method":' .. quote(request.method) .. ',"host":' .. quote(request.host)
        .. ',"scheme":' .. quote(var.scheme)
        .. ',"request-uri":' .. quote_once(request.uri) .. ',"uri":' .. quote_once(uri)
        .. ',"request":' .. quote_once(line) .. ',"server-protocol":' .. quote(protocol)
        .. ',"remote-addr":' .. quote(var.remote_addr) .. ',"remote-port":"' .. var.remote_port .. '"'
        .. ',"server-addr":' .. quote(var.server_addr) .. ',"server-port":' .. quote(var.server_port)
        .. (args and args_json(args) or ',"uri-args":{}')
        .. optional(',"content-type":', headers["content-type"])
        .. optional(',"http-referer":', headers.referer)
        .. optional(',"http-user-agent":', headers["user-agent"])
        .. (headers.authorization and optional(',"remote-user":', var.remote_user) or "")
        .. ',"headers":{' .. headers_json(headers) .. "}"
end


--- The frame of a request, as a string or, if its body is large, as an array of strings; second its bytes in all.
-- nil and an error if the body cannot be read.
-- `request`: `id`, `msg_id`, `from`, `method`, `host`, `path` (raw), `uri` (raw, with query), `headers`,
-- `has_body`; `to` (func queue; nil for the firehose); and either `queue` (for the reply), `deadline` (s since 1970)
-- and `timeout` (s), or none of these when nobody waits: then the broker is asked for a receipt with the id.
function _M.frame(request)
    local headers = request.headers
    local tail = body.EMPTY
    if request.has_body then
        local content_type = headers["content-type"]
        local json, err = body.json(type(content_type) == "table" and content_type[1] or content_type)
        if not json then
            return nil, err
        end
        tail = json
    end
    local deadline = request.deadline and format("%.0f", floor(request.deadline * 1000))
    local head = head_json(request, deadline)
    local pieces = type(tail) == "table" and tail
    local bytes = #head
    if pieces then
        for i = 1, #pieces do
            bytes = bytes + #pieces[i]
        end
    else
        bytes = bytes + #tail
    end
    local place = request.host .. request.path
    local lines = (request.to and queue_line(request.to) or firehose_line(place))
        .. "content-type:application/json\naction:service\nrequest-id:" .. request.id .. "\n" .. where_lines(place)
        .. "method:" .. request.method .. "\ncorrelation-id:" .. request.id .. "\n"
        .. (deadline
            and "reply-to:" .. request.queue .. "\ndeadline:" .. deadline
                .. "\nexpiration:" .. format("%.0f", request.timeout * 1000)
            or "persistent:true\nreceipt:" .. request.id)
        .. "\ncontent-length:" .. bytes .. "\n\n"
    if not pieces then
        return lines .. head .. tail .. "\0", bytes
    end
    pieces[1] = lines .. head .. pieces[1]
    pieces[#pieces] = pieces[#pieces] .. "\0"
    return pieces, bytes
end

return _M
