--- From an `answer` message to the HTTP response.
--
-- What a Func says is not trusted: header names must be tokens, values hold no line breaks or NULs, the length is
-- the body's own, and hop-by-hop headers stay inside.

local bodies = require "funcatron.bodies"
local cjson = require "cjson"
local hop = require "funcatron.hop"
local problem = require "funcatron.problem"

local decode = cjson.decode
local decode_base64 = ngx.decode_base64
local find = string.find
local floor = math.floor
local flush = ngx.flush
local gsub = string.gsub
local log = ngx.log
local lower = string.lower
local null = cjson.null
local next = next
local pairs = pairs
local pcall = pcall
local sub = string.sub
local print = ngx.print
local tonumber = tonumber
local tostring = tostring
local type = type

local ERR, WARN = ngx.ERR, ngx.WARN

local _M = {}

-- lower-case form of a header name; false for a name that must not be sent
local names, known = {}, 0
local OURS = { ["content-length"] = true, ["x-request-id"] = true }


local function header_name(name)
    local made = names[name]
    if made == nil then
        if known >= 1000 then
            names, known = {}, 0
        end
        -- RFC 9110, 5.6.2: a token
        made = find(name, "^[%w!#$%%&'*+.^_`|~-]+$") and lower(name) or false
        if made and (OURS[made] or hop.ALWAYS[made]) then
            made = ""
        end
        names[name], known = made, known + 1
    end
    return made
end


local function header_value(name, value)
    if type(value) ~= "string" then
        value = tostring(value)
    end
    if value == "" then
        return " " -- nginx would leave an empty one out; the blank is not part of the value (RFC 9110, 5.5)
    end
    if find(value, "\n", 1, true) or find(value, "\r", 1, true) or find(value, "\0", 1, true) then
        log(WARN, "line breaks or NULs in the header ", name, " of an answer are replaced")
        return (gsub(value, "[%z\r\n]+", " "))
    end
    return value
end


-- The headers as an array of {name, value}, whatever shape a foreign Runner gave them: nil if it is none of ours.
local function pairs_of(headers)
    if headers == nil or headers == null then
        return {}
    end
    if type(headers) ~= "table" then
        return nil
    end
    if headers[1] ~= nil or next(headers) == nil then
        return headers
    end
    local list = {}
    for name, value in pairs(headers) do
        if type(value) == "table" then
            for i = 1, #value do
                list[#list + 1] = { name, value[i] }
            end
        else
            list[#list + 1] = { name, value }
        end
    end
    return list
end


-- A value that HTTP can carry, or nil.
local function scalar(value)
    local kind = type(value)
    return (kind == "string" or kind == "number" or kind == "boolean") and value or nil
end


local function connection_names(headers)
    local named
    for i = 1, #headers do
        local pair = headers[i]
        if type(pair) == "table" and type(pair[1]) == "string" and lower(pair[1]) == "connection" then
            for name in pairs(hop.named(tostring(pair[2])) or {}) do
                named = named or {}
                named[name] = true
            end
        end
    end
    return named
end


local function set_headers(headers)
    local out, values = ngx.header, {}
    local named = connection_names(headers)
    for i = 1, #headers do
        local pair = headers[i]
        local name = type(pair) == "table" and pair[1]
        local key = type(name) == "string" and header_name(name)
        local value = key and scalar(pair[2])
        if key == "content-type" and (values[key] or value == "") then
            value, key = nil, "" -- one body, one type: the first
        end
        if not key or (value == nil and key ~= "" and not values[key]) then
            log(WARN, "a header of an answer is dropped: its name or value cannot be sent")
        elseif value ~= nil and key ~= "" and not (named and named[key]) then
            value = header_value(name, value)
            local before = values[key]
            if before == nil then
                values[key] = value
                out[name] = value
            else
                if type(before) ~= "table" then
                    before = { before }
                    values[key] = before
                end
                before[#before + 1] = value
                out[name] = before
            end
        end
    end
end


local function declared_length(headers)
    for i = 1, #headers do
        local pair = headers[i]
        if type(pair) == "table" and type(pair[1]) == "string" and lower(pair[1]) == "content-length" then
            local length = tonumber(pair[2])
            return length and length >= 0 and floor(length) == length and length or nil
        end
    end
end


local function body_of(answer)
    local body = answer.body
    if body == nil or body == null or body == "" then
        return ""
    end
    if type(body) ~= "string" then
        return nil
    end
    if answer["body-base64-encoded"] == false then
        return body
    end
    return decode_base64(body)
end


-- The JSON parser looks at every byte of a string: 20 ms for 1 MB. So a large body in base64, which has no escapes, is
-- cut out before. Returns the bytes without it, and the body; just the bytes where there is none. An unescaped quote
-- cannot be part of a string, so what is found is a key.
local LARGE = 16384
local BEFORE, AFTER = '"body":"', '","body-base64-encoded":true'

local function cut_body(bytes)
    local _, before = find(bytes, BEFORE, 1, true)
    local quote = before and find(bytes, '"', before + 1, true)
    if not quote or quote - before < LARGE or sub(bytes, quote, quote + #AFTER - 1) ~= AFTER then
        return bytes
    end
    return sub(bytes, 1, before) .. sub(bytes, quote), sub(bytes, before + 1, quote - 1)
end


--- Take an answer apart: {status, headers, body, sha}, or nil and what is wrong with it. Pure.
function _M.parse(bytes)
    local cut
    if #bytes > LARGE then
        bytes, cut = cut_body(bytes)
    end
    local ok, message = pcall(decode, bytes)
    if not ok or type(message) ~= "table" then
        return nil, "it is not JSON"
    end
    local answer = message.answer
    if type(answer) ~= "table" then
        return nil, "it has no answer"
    end
    local status = answer.status
    if status == nil or status == null then
        status = 200
    end
    if type(status) ~= "number" or status < 200 or status > 599 or floor(status) ~= status then
        return nil, "its status is not a final one (200 to 599)"
    end
    local headers = pairs_of(answer.headers)
    if not headers then
        return nil, "its headers are not a list of pairs"
    end
    if cut and answer.body == "" then
        answer.body = cut
    end
    local body = body_of(answer)
    if not body then
        return nil, "its body is not base64"
    end
    local sha, file = message.sha, answer["body-file"]
    if file ~= nil and file ~= null and type(file) ~= "string" then
        return nil, "the name of its body's file is no string"
    end
    return { status = status, headers = headers, body = body, file = file ~= null and file or nil,
        sha = type(sha) == "string" and sha or nil }
end


-- Send the body that lies in a file, in pieces that nginx has sent before the next is read.
local function send_file(file)
    for data in bodies.pieces(file) do
        local ok, err = print(data)
        if ok then
            ok, err = flush(true)
        end
        if not ok then
            if err ~= "nginx request aborted" and err ~= "client aborted" then
                log(ERR, "failed to send a body: ", err)
            end
            break
        end
    end
    file:close()
end


-- An answer whose body lies in a file. False if there is none.
local function open_file(answer, folder)
    local file, size = nil, "FUNCATRON_BODIES is not set"
    if folder then
        file, size = bodies.take(folder, answer.file)
    end
    if not file then
        log(ERR, "failed to read the body of an answer: ", size)
    end
    return file, size
end


--- Send a parsed answer. `folder`: see bodies.lua. Returns false, and has sent nothing, if the file of its body
-- cannot be read.
function _M.send(answer, method, folder)
    local status, body = answer.status, answer.body
    local file, size
    if answer.file then
        file, size = open_file(answer, folder)
        if not file then
            return false
        end
    end
    ngx.status = status
    set_headers(answer.headers)
    if status == 204 or status == 304 then
        return
    end
    if file then
        ngx.header["Content-Length"] = size
        return send_file(file)
    end
    local length = #body
    if method == "HEAD" and length == 0 then
        length = declared_length(answer.headers) or 0
    end
    ngx.header["Content-Length"] = length
    if length > 0 and method ~= "HEAD" then
        local ok, err = print(body)
        if not ok and err ~= "nginx request aborted" then
            log(ERR, "failed to send a body: ", err)
        end
    end
end


--- Send an error of the Frontend's own.
function _M.problem(status, detail, request_id, retry_after)
    local body = problem.body(status, detail, request_id)
    local header = ngx.header
    ngx.status = status
    header["Content-Type"] = problem.MEDIA_TYPE
    header["Content-Length"] = #body
    if retry_after then
        header["Retry-After"] = retry_after
    end
    print(body)
end


--- Send JSON text.
function _M.json(status, body)
    ngx.status = status
    ngx.header["Content-Type"] = "application/json"
    ngx.header["Content-Length"] = #body
    ngx.header["Cache-Control"] = "no-store"
    print(body)
end

return _M
