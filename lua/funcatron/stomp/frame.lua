--- STOMP 1.2 frames: a pure codec, no I/O.
--
-- `encode` makes the bytes of one frame; a decoder is fed with bytes, split anywhere, and gives back whole frames.
-- Bodies are read by `content-length`, so they may hold NULs; without one a body ends at the first NUL.
-- Specification: https://stomp.github.io/stomp-specification-1.2.html (sections cited below).
-- Works in every phase; needs nothing of nginx.

local ffi = require "ffi"

local byte = string.byte
local clear = require "table.clear"
local cast = ffi.cast
local concat = table.concat
local copy = ffi.copy
local error = error
local find = string.find
local gsub = string.gsub
local match = string.match
local pairs = pairs
local setmetatable = setmetatable
local sub = string.sub
local to_string = ffi.string
local tonumber = tonumber
local tostring = tostring
local type = type

local _M = {}
local Decoder = {}
Decoder.__index = Decoder

local LF, CR, NUL = 10, 13, 0

local CHARS = ffi.typeof("const char *")
local MAX_SALTED, SALT_BYTES = 64 * 1024, 5
local salted = ffi.new("char[?]", MAX_SALTED + SALT_BYTES)
local salt = ffi.new("uint32_t[1]")

_M.EOL = "\n" -- a heart-beat
_M.MAX_HEAD_BYTES = 64 * 1024
_M.MAX_BODY_BYTES = 512 * 1024 * 1024

-- "Value Encoding": every frame but CONNECT and CONNECTED escapes these in header names and values.
local ESCAPES = { ["\\"] = "\\\\", ["\n"] = "\\n", ["\r"] = "\\r", [":"] = "\\c" }
local UNESCAPES = { ["\\\\"] = "\\", ["\\n"] = "\n", ["\\r"] = "\r", ["\\c"] = ":" }
local UNESCAPED_COMMANDS = { CONNECT = true, CONNECTED = true }


--- Escape a header name or value.
function _M.escape(text)
    return (gsub(text, "[\\\n\r:]", ESCAPES))
end


--- Undo `escape`. An undefined escape sequence is a fatal error by the specification: nil and what is wrong.
function _M.unescape(text)
    if not find(text, "\\", 1, true) then
        return text
    end
    local undefined
    local plain = gsub(text, "\\.?", function(sequence)
        local char = UNESCAPES[sequence]
        if not char then
            undefined = sequence
        end
        return char
    end)
    if undefined then
        return nil, "undefined escape sequence " .. undefined
    end
    return plain
end

local escape, unescape = _M.escape, _M.unescape


local function as_is(text)
    if find(text, "[\r\n]") then
        error("a header of a CONNECT frame cannot hold a line break", 3)
    end
    return text
end


--- The bytes of a frame as one string.
-- `headers`: a table of name → value (in no order), or an array of {name, value} pairs (in that order).
-- With a `body` (a string) its `content-length` is set, whatever `headers` says.
function _M.encode(command, headers, body)
    local quote = UNESCAPED_COMMANDS[command] and as_is or escape
    local parts, n = { command, "\n" }, 2
    local function add(name, value)
        if name == "content-length" and body then
            return
        end
        parts[n + 1], parts[n + 2] = quote(tostring(name)), ":"
        parts[n + 3], parts[n + 4] = quote(tostring(value)), "\n"
        n = n + 4
    end
    if headers then
        if type(headers[1]) == "table" then
            for i = 1, #headers do
                add(headers[i][1], headers[i][2])
            end
        else
            for name, value in pairs(headers) do
                add(name, value)
            end
        end
    end
    if body then
        parts[n + 1] = "content-length:" .. #body .. "\n"
        n = n + 1
    end
    parts[n + 1], parts[n + 2], parts[n + 3] = "\n", body or "", "\0"
    return concat(parts)
end


--- A decoder with empty buffers. `limits`: `head` and `body`, the largest sizes in bytes that are accepted.
-- `wanted`: a set of header names (with `content-length`); others are left out. All are kept if it is absent.
-- `salt`: true for a reader of very many messages that are alike, whose JSON parser stops at a NUL, as cjson does.
-- Then a NUL and a number may follow the body, and `next` returns the body's length as well. (LuaJIT's hash of a long
-- string looks at 16 of its bytes only, most of them in places where such messages do not differ; strings with the
-- same hash are searched one by one, which then costs more than all the rest of the decoding.)
function _M.decoder(limits)
    return setmetatable({
        max_head = limits and limits.head or _M.MAX_HEAD_BYTES,
        max_body = limits and limits.body or _M.MAX_BODY_BYTES,
        salt = limits and limits.salt or false,
        wanted = limits and limits.wanted or false,
        buf = "", -- bytes not yet looked at begin at `pos`
        pos = 1,
        command = nil, -- of the frame under way
        headers = nil,
        head_bytes = 0,
        in_body = false,
        length = nil, -- of the body, if the frame tells
        pieces = nil, -- of a body that comes in several reads
        got = 0,
        failed = nil,
    }, Decoder)
end


--- Add received bytes.
function Decoder:feed(data)
    local buf, pos = self.buf, self.pos
    if pos > #buf then
        self.buf = data
    else
        self.buf = sub(buf, pos) .. data
    end
    self.pos = 1
end


--- True between frames: nothing of a next one has been seen.
function Decoder:idle()
    return not self.command and self.pos > #self.buf
end


-- Keep the header of the line from `pos` to `last`. Of repeated headers the first counts ("Repeated Header Entries").
local function header(self, buf, pos, last)
    local colon = find(buf, ":", pos, true)
    if not colon or colon > last then
        return nil, "header without a colon"
    end
    local name, wanted = sub(buf, pos, colon - 1), self.wanted
    if wanted and not wanted[name] then
        return true
    end
    local value = sub(buf, colon + 1, last)
    if not UNESCAPED_COMMANDS[self.command] then
        local err
        name, err = unescape(name)
        if not name then
            return nil, err
        end
        value, err = unescape(value)
        if not value then
            return nil, err
        end
    end
    local headers = self.headers
    if headers[name] == nil then
        headers[name] = value
    end
    return true
end


local function begin_body(self)
    local length = self.headers["content-length"]
    self.in_body, self.length, self.got = true, nil, 0
    if length then
        local size = match(length, "^%d+$") and tonumber(length)
        if not size then
            return nil, "bad content-length"
        end
        if size > self.max_body then
            return nil, "body of " .. length .. " bytes is over the limit of " .. self.max_body
        end
        self.length = size
    end
    return true
end


-- Read lines up to the blank one. True when the head is complete, false when more bytes are needed.
local function read_head(self, into)
    local buf = self.buf
    while true do
        local pos = self.pos
        local stop = find(buf, "\n", pos, true)
        if not stop then
            if self.head_bytes + #buf - pos + 1 > self.max_head then
                return nil, "head is over the limit of " .. self.max_head .. " bytes"
            end
            return false
        end
        self.pos = stop + 1
        local last = stop - 1
        if last >= pos and byte(buf, last) == CR then
            last = last - 1
        end
        if last >= pos then
            self.head_bytes = self.head_bytes + stop - pos + 1
            if self.head_bytes > self.max_head then
                return nil, "head is over the limit of " .. self.max_head .. " bytes"
            end
            if self.command then
                local ok, err = header(self, buf, pos, last)
                if not ok then
                    return nil, err
                end
            else
                if into then
                    clear(into)
                end
                self.command, self.headers = sub(buf, pos, last), into or {}
            end
        elseif self.command then
            return begin_body(self)
        end -- else: an EOL between frames, which is a heart-beat
    end
end


-- A body of unknown length ends at the first NUL.
local function read_to_nul(self)
    local buf, pos = self.buf, self.pos
    local stop = find(buf, "\0", pos, true)
    local last = stop and stop - 1 or #buf
    self.got = self.got + last - pos + 1
    if self.got > self.max_body then
        return nil, "body is over the limit of " .. self.max_body .. " bytes"
    end
    local pieces = self.pieces
    if stop and not pieces then
        self.pos = stop + 1
        return sub(buf, pos, last)
    end
    pieces = pieces or {}
    pieces[#pieces + 1] = sub(buf, pos, last)
    if not stop then
        self.pieces, self.buf, self.pos = pieces, "", 1
        return false
    end
    self.pos = stop + 1
    return concat(pieces)
end


-- Bytes of `buf` as a string that ends in a NUL and a number, which is another one each time.
local function with_salt(buf, pos, size)
    copy(salted, cast(CHARS, buf) + pos - 1, size)
    salt[0] = salt[0] + 1
    salted[size] = NUL
    copy(salted + size + 1, salt, 4)
    return to_string(salted, size + SALT_BYTES)
end


-- A body of known length, then the NUL that ends the frame.
local function read_length(self)
    local buf, pos, missing = self.buf, self.pos, self.length - self.got
    local have = #buf - pos + 1
    if have <= missing then -- the NUL, at least, is still to come
        if have > 0 then
            local pieces = self.pieces
            if not pieces then
                pieces = {}
                self.pieces = pieces
            end
            pieces[#pieces + 1] = sub(buf, pos)
            self.got, self.buf, self.pos = self.got + have, "", 1
        end
        return false
    end
    if byte(buf, pos + missing) ~= NUL then
        return nil, "frame does not end with NUL after its content-length"
    end
    self.pos = pos + missing + 1
    local pieces = self.pieces
    if self.salt and not pieces and missing > 0 and missing <= MAX_SALTED then
        return with_salt(buf, pos, missing)
    end
    local body = sub(buf, pos, pos + missing - 1)
    if pieces then
        pieces[#pieces + 1] = body
        body = concat(pieces)
    end
    return body
end


--- The next whole frame: command, headers (name → value), body and the body's length (see `salt` of `decoder`).
-- nil alone: more bytes are needed. nil and a text: the stream is broken and stays so.
-- `into`: a table to put the headers in, for who wants to use one again; it is emptied when a frame begins, and
-- belongs to that frame until the next call after the one that returned it.
function Decoder:next(into)
    if self.failed then
        return nil, self.failed
    end
    if not self.in_body then
        local ok, err = read_head(self, into)
        if not ok then
            self.failed = err
            return nil, err
        end
    end
    local body, err
    if self.length then
        body, err = read_length(self)
    else
        body, err = read_to_nul(self)
    end
    if not body then
        self.failed = err
        return nil, err
    end
    local command, headers, length = self.command, self.headers, self.length or #body
    self.command, self.headers, self.head_bytes = nil, nil, 0
    self.in_body, self.length, self.pieces = false, nil, nil
    return command, headers, body, length
end


--- Drop the EOLs between frames, then tell whether the stream is between frames: a client that hands its
-- connection on may only do so then.
function Decoder:settle()
    local buf, pos = self.buf, self.pos
    if not self.command then
        while byte(buf, pos) == LF or byte(buf, pos) == CR do
            pos = pos + 1
        end
        self.pos = pos
    end
    return self:idle()
end

return _M
