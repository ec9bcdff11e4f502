--- The body of a request as members of a `service` message's JSON.
-- nginx keeps small bodies in memory and spools large ones to a file. Where Runners share the folder of these files
-- (FUNCATRON_BODIES), a message names the file, which is there as long as its request: until the answer, its deadline,
-- or the client's leaving. Else files are read here in pieces, so that a large body is never held twice.

local cjson = require "cjson"
local text = require "funcatron.text"

local base64 = ngx.encode_base64
local get_body_data = ngx.req.get_body_data
local get_body_file = ngx.req.get_body_file
local open = io.open
local sub = string.sub

local is_textual, is_utf8 = text.is_textual, text.is_utf8

local _M = {}

local EMPTY = ',"body-base64-encoded":false,"body":""'
local TEXT = ',"body-base64-encoded":false,"body":'
local BASE64 = ',"body-base64-encoded":true,"body":"'
local PIECE = 3 * 64 * 1024 -- a multiple of 3 encodes without padding
local LARGE = 64 * 1024
local MAX_TEXT = 8 * 1024 * 1024 -- larger ones go as base64: their JSON escapes would need memory many times over

local encode = cjson.encode
-- cjson keeps its buffer at the largest size ever used, so large texts get an encoder that does not
local encode_large
do
    local large = cjson.new()
    large.encode_keep_buffer(false)
    encode_large = large.encode
end


local function as_text(data)
    if #data > LARGE then
        return { TEXT, encode_large(data) }
    end
    return TEXT .. encode(data)
end


local function as_base64(data)
    if #data > LARGE then
        return { BASE64, base64(data), '"' }
    end
    return BASE64 .. base64(data) .. '"'
end


local function spooled(path, textual)
    local file, err = open(path, "rb")
    if not file then
        return nil, "failed to read the spooled body: " .. err
    end
    local size = file:seek("end")
    file:seek("set")
    if textual and size <= MAX_TEXT then
        local data = file:read("*a")
        if is_utf8(data) then
            file:close()
            return as_text(data)
        end
        file:seek("set")
    end
    local pieces, n = { BASE64 }, 1
    while true do
        local data = file:read(PIECE)
        if not data then
            break
        end
        n = n + 1
        pieces[n] = base64(data)
    end
    file:close()
    pieces[n + 1] = '"'
    return pieces
end


-- The member that names the file of a body, relative to the shared folder; nil if it is not in there.
local function named(path, folder)
    local size = #folder.path
    if sub(path, 1, size) ~= folder.path then
        return nil
    end
    return ',"body-base64-encoded":false,"body":"","body-file":' .. encode(sub(path, size + 1))
end


--- The members: a string, or an array of strings for a large body; nil and an error if it cannot be read.
-- To be called after `ngx.req.read_body`; `content_type` may be nil; `folder`: see bodies.lua; nil if the message may
-- outlive the request.
function _M.json(content_type, folder)
    local textual = content_type ~= nil and is_textual(content_type)
    local data = get_body_data()
    if not data then
        local path = get_body_file()
        if not path then
            return EMPTY
        end
        return folder and named(path, folder) or spooled(path, textual)
    end
    if data == "" then
        return EMPTY
    end
    if textual and #data <= MAX_TEXT and is_utf8(data) then
        return as_text(data)
    end
    return as_base64(data)
end

_M.EMPTY = EMPTY

return _M
