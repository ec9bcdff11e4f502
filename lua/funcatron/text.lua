--- Bytes and text: is it UTF-8, and how does it get into JSON?
-- JSON is UTF-8, HTTP is bytes: what is not valid UTF-8 is taken as Latin-1, so that no byte is lost.

local ffi = require "ffi"

local band = require("bit").band
local byte = string.byte
local cast = ffi.cast
local char = string.char
local find = string.find
local gsub = string.gsub
local lower = string.lower
local rshift = require("bit").rshift

local _M = {}

local BYTES, WORDS = ffi.typeof("const uint8_t *"), ffi.typeof("const uint32_t *")
local WORD_HIGH_BITS = 0x80808080


-- Number of ASCII bytes that `text` begins with, rounded down to a multiple of 4 unless all are.
local function ascii_prefix(text, size)
    local words, count = cast(WORDS, text), rshift(size, 2)
    for i = 0, count - 1 do
        if band(words[i], WORD_HIGH_BITS) ~= 0 then
            return i * 4
        end
    end
    local bytes = cast(BYTES, text)
    for i = count * 4, size - 1 do
        if bytes[i] >= 0x80 then
            return count * 4
        end
    end
    return size
end


--- True when every byte is below 0x80.
function _M.is_ascii(text)
    local size = #text
    return ascii_prefix(text, size) == size
end


-- Length of the UTF-8 sequence that begins at bytes[i], or nil (RFC 3629: no overlong forms, no surrogates).
local function sequence(bytes, i, size)
    local first = bytes[i]
    if first < 0x80 then
        return 1
    end
    local low, high, length = 0x80, 0xBF, nil
    if first >= 0xC2 and first <= 0xDF then
        length = 2
    elseif first >= 0xE0 and first <= 0xEF then
        length = 3
        if first == 0xE0 then low = 0xA0 elseif first == 0xED then high = 0x9F end
    elseif first >= 0xF0 and first <= 0xF4 then
        length = 4
        if first == 0xF0 then low = 0x90 elseif first == 0xF4 then high = 0x8F end
    end
    if not length or i + length > size or bytes[i + 1] < low or bytes[i + 1] > high then
        return nil
    end
    for k = i + 2, i + length - 1 do
        if band(bytes[k], 0xC0) ~= 0x80 then
            return nil
        end
    end
    return length
end


--- True when `text` is valid UTF-8.
function _M.is_utf8(text)
    local size = #text
    local i, bytes = ascii_prefix(text, size), cast(BYTES, text)
    while i < size do
        local length = sequence(bytes, i, size)
        if not length then
            return false
        end
        i = i + length
    end
    return true
end


local function latin1(c)
    local code = byte(c)
    return char(0xC0 + rshift(code, 6), 0x80 + band(code, 0x3F))
end


--- `text` if it is valid UTF-8, else its bytes taken as Latin-1.
function _M.utf8(text)
    if _M.is_utf8(text) then
        return text
    end
    return (gsub(text, "[\128-\255]", latin1))
end


local textual, known = {}, 0


local function decide(content_type)
    local media = gsub(lower(content_type), "%s*;.*$", "")
    return find(media, "^text/") ~= nil
        or find(media, "/json$") ~= nil or find(media, "+json$") ~= nil
        or find(media, "/xml$") ~= nil or find(media, "+xml$") ~= nil
        or media == "application/x-www-form-urlencoded"
end


--- True when bodies of that `Content-Type` travel as text (if their bytes are valid UTF-8).
function _M.is_textual(content_type)
    local is = textual[content_type]
    if is == nil then
        if known >= 1000 then -- a client may send any number of them
            textual, known = {}, 0
        end
        is = decide(content_type)
        textual[content_type], known = is, known + 1
    end
    return is
end

return _M
