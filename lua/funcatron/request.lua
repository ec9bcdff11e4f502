--- From an HTTP request to the bytes of a `service` message in a STOMP frame.
--
-- The JSON is put together by hand: its keys are fixed, and most values (host, user agent, header names …) come
-- again and again, so their quoted forms are cached. Nothing here yields, so the work tables are shared.

local body = require "funcatron.body"
local cjson = require "cjson"
local frame = require "funcatron.stomp.frame"
local hop = require "funcatron.hop"
local text = require "funcatron.text"

local concat = table.concat
local encode = cjson.encode
local find = string.find
local floor = math.floor
local format = string.format
local get_uri_args = ngx.req.get_uri_args
local gsub = string.gsub
local now = ngx.now
local pairs = pairs
local sub = string.sub
local type = type
local utf8 = text.utf8
local var = ngx.var

local ALWAYS_HOP = hop.ALWAYS

local _M = {}

-- By the default exchange: for a destination `/exchange/…` RabbitMQ's STOMP plugin asks the broker at each frame
-- whether the exchange exists, and waits for the reply.
local QUEUE, FIREHOSE = "/amq/queue/", "funcatron.firehose"
local CACHE, CACHED_BYTES = 4000, 512
local MSG_ID, CLOSE = ',"msg-id":"', '"}\0' -- the last member of the JSON, and the end of the frame


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
_M.quote = quote


-- The same for values that seldom come twice.
local function quote_once(value)
    return encode(utf8(value))
end


-- The frame's lines that depend on host and path alone.
local where_lines = cached(function(place)
    local slash = find(place, "/", 1, true)
    local host, path = sub(place, 1, slash - 1), sub(place, slash)
    return "host:" .. frame.escape(utf8(host)) .. "\npath:" .. frame.escape(utf8(path)) .. "\n"
end)

local queue_line = cached(function(queue)
    return "SEND\ndestination:" .. QUEUE .. frame.escape((gsub(queue, "/", "%%2F"))) .. "\n"
end)


-- The frame is put together here: the STOMP lines come first, the JSON after them.
local parts = {}
local LINES = 12 -- parts that the lines take


-- A header's name as a key of a JSON object, with the comma before it.
local key = cached(function(name)
    return "," .. encode(utf8(name)) .. ":"
end)


-- Add what is not hop-by-hop as members after part `n`; returns the last part's number.
local function add_headers(n, headers)
    local named = hop.named(headers.connection)
    local first = n + 1
    for name, value in pairs(headers) do
        if not ALWAYS_HOP[name] and not (named and named[name]) then
            parts[n + 1] = key(name)
            if type(value) == "table" then
                local values = {}
                for i = 1, #value do
                    values[i] = utf8(value[i])
                end
                parts[n + 2] = encode(values)
            else
                parts[n + 2] = quote(value)
            end
            n = n + 2
        end
    end
    if n >= first then
        parts[first] = sub(parts[first], 2)
    end
    return n
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
local function args_json()
    local decoded = get_uri_args(0)
    local json = encode(decoded)
    if text.is_utf8(json) then
        return json
    end
    local cleaned = {}
    for name, value in pairs(decoded) do
        cleaned[utf8(name)] = clean(value)
    end
    return encode(cleaned)
end


-- Add a member after part `n` if there is a value (of repeated headers the first).
local function add_optional(n, member, value)
    if value == nil then
        return n
    end
    parts[n + 1], parts[n + 2] = member, quote(type(value) == "table" and value[1] or value)
    return n + 2
end


local queue_json = cached(function(queue)
    local quoted = encode(queue)
    return ',"reply-to":' .. quoted .. ',"reply-queue":' .. quoted
end)


-- A time in ms as digits; the requests of one turn of the event loop share it.
local function shared_ms()
    local last, digits
    return function(seconds)
        if seconds ~= last then
            last, digits = seconds, format("%.0f", floor(seconds * 1000))
        end
        return digits
    end
end

local at_ms, deadline_ms, timeout_ms = shared_ms(), shared_ms(), shared_ms()


-- Add the JSON's members up to the body; returns the last part's number.
local function add_members(request, deadline)
    local headers, args = request.headers, request.args
    local to_json = request.ascii and encode or quote_once
    local n = LINES
    parts[n + 1], parts[n + 2] = '{"action":"service","version":1,"from":', quote(request.from)
    parts[n + 3], parts[n + 4] = ',"at":', at_ms(now())
    parts[n + 5], parts[n + 6], parts[n + 7] = ',"request-id":"', request.id, '","method":"'
    parts[n + 8], parts[n + 9], parts[n + 10] = request.method, '","host":', request.host_json
    parts[n + 11], parts[n + 12] = ",", var.funcatron_connection
    parts[n + 13], parts[n + 14] = ',"request-uri":', request.uri_json
    parts[n + 15], parts[n + 16] = ',"uri":', to_json(request.decoded)
    parts[n + 17], parts[n + 18] = ',"request":', to_json(request.line)
    n = n + 18
    if deadline then
        parts[n + 1], parts[n + 2], parts[n + 3] = ',"deadline":', deadline, queue_json(request.queue)
        n = n + 3
        if request.bodies then
            parts[n + 1], parts[n + 2], parts[n + 3] = ',"bodies":"', request.bodies.id, '"'
            n = n + 3
        end
    end
    if args then
        parts[n + 1], parts[n + 2], parts[n + 3], parts[n + 4] = ',"args":', to_json(args), ',"uri-args":', args_json()
        n = n + 4
    else
        parts[n + 1] = ',"uri-args":{}'
        n = n + 1
    end
    n = add_optional(n, ',"content-type":', headers["content-type"])
    n = add_optional(n, ',"http-referer":', headers.referer)
    n = add_optional(n, ',"http-user-agent":', headers["user-agent"])
    if headers.authorization then
        n = add_optional(n, ',"remote-user":', var.remote_user)
    end
    parts[n + 1] = ',"headers":{'
    n = add_headers(n + 1, headers)
    parts[n + 1] = "}"
    return n + 1
end


-- Fill in the STOMP lines of a message with a body of so many bytes. Each header costs the broker as much as 50 bytes
-- of body, so a message that somebody waits for has only those that others decide by: host and path come first.
local function put_lines(request, deadline, bytes)
    parts[1] = queue_line(request.to or FIREHOSE)
    parts[2] = where_lines(request.host .. request.path)
    if deadline then
        parts[3], parts[4], parts[5], parts[6] = "deadline:", deadline, "\nreply-to:", request.queue
        parts[7], parts[8] = "\nexpiration:", timeout_ms(request.timeout)
    else -- it may lie in the dead-letter queue for people to look at
        parts[3], parts[4] = "content-type:application/json\naction:service\nrequest-id:", request.id
        parts[5], parts[6] = "\nmethod:", request.method
        parts[7], parts[8] = "\npersistent:true\nreceipt:", request.id
    end
    parts[9], parts[10], parts[11] = "\ncorrelation-id:", request.id, "\ncontent-length:"
    parts[12] = bytes .. "\n\n"
end


--- Take nginx's `$funcatron_line` apart: host, raw URI, request line and decoded URI
-- (see funcatron-http.conf; it ends with the time to be another string each time).
function _M.line(joined)
    local first = find(joined, "\n", 1, true)
    local second = find(joined, "\n", first + 1, true)
    local third = find(joined, "\n", second + 1, true)
    return sub(joined, 1, first - 1), sub(joined, first + 1, second - 1), sub(joined, second + 1, third - 1),
        sub(joined, third + 1, -1 - #"1700000000.000")
end


-- Bytes of the JSON's parts up to part `n`.
local function length(n)
    local bytes = 0
    for i = LINES + 1, n do
        bytes = bytes + #parts[i]
    end
    return bytes
end


-- As `frame`, with the pieces of a large body, which are passed on as they are.
local function large_frame(request, deadline, n, pieces)
    parts[n + 1] = pieces[1]
    local last = MSG_ID .. request.msg_id
    local bytes = length(n + 1) + #last + #CLOSE - 1
    for i = 2, #pieces do
        bytes = bytes + #pieces[i]
    end
    put_lines(request, deadline, bytes)
    pieces[1] = concat(parts, "", 1, n + 1)
    pieces[#pieces + 1] = last
    pieces[#pieces + 1] = CLOSE
    return pieces, bytes
end


--- A value that seldom comes twice as JSON text. `ascii`: true if it is.
function _M.quote_once(value, ascii)
    return ascii and encode(value) or quote_once(value)
end


--- The frame of a request as an array of strings, and the number of bytes of its JSON.
-- nil and an error if the body cannot be read.
-- `request`: `id`, `msg_id`, `from`, `method`, `host`, `path` (raw), `host_json` and `uri_json` (raw, with query; JSON
-- text), `line` (the request line), `decoded` (the path decoded), `ascii` (true if all these are), `args` (raw query
-- or nil), `headers`, `has_body`, `bodies` (the shared folder or nil; see bodies.lua); `to` (func queue; nil for the
-- firehose); and either `queue` (for the reply), `deadline` (s since 1970) and `timeout` (s), or none of these when
-- nobody waits: then the broker is asked for a receipt with the id.
--
-- LuaJIT's hash of a long string looks at 16 of its bytes: the first and last four and some in the middle. Messages
-- are alike in all of them, and strings with the same hash are searched one by one. So every long string made here
-- ends with the message's id, which differs in its last bytes; what comes after it is a piece that is always the same.
function _M.frame(request)
    local deadline = request.deadline and deadline_ms(request.deadline)
    local tail = body.EMPTY
    if request.has_body then
        local content_type = request.headers["content-type"]
        local json, err = body.json(type(content_type) == "table" and content_type[1] or content_type,
            deadline and request.bodies)
        if not json then
            return nil, err
        end
        tail = json
    end
    local n = add_members(request, deadline)
    if type(tail) == "table" then
        return large_frame(request, deadline, n, tail)
    end
    parts[n + 1], parts[n + 2], parts[n + 3] = tail, MSG_ID, request.msg_id
    local bytes = length(n + 3) + #CLOSE - 1
    put_lines(request, deadline, bytes)
    return { concat(parts, "", 1, n + 3), CLOSE }, bytes
end

return _M
