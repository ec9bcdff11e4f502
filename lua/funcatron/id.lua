--- Ids: UUIDs that cost one number formatting each, and the check of ids that come from outside.
-- 88 random bits for the process, then a counter: unique without a system call per id.

local find = string.find
local format = string.format
local open = io.open
local tohex = require("bit").tohex

local _M = {}

local prefix, count


--- Random bytes as lower-case hexadecimal digits.
function _M.random_hex(bytes)
    local file, err = open("/dev/urandom", "rb")
    if not file then
        error("failed to open /dev/urandom: " .. err)
    end
    local random = file:read(bytes)
    file:close()
    return (random:gsub(".", function(char)
        return format("%02x", char:byte())
    end))
end


--- Draw a new prefix: once in each worker, for workers are forks, and when the counter is used up.
function _M.seed()
    local hex = _M.random_hex(12)
    prefix = hex:sub(1, 8) .. "-" .. hex:sub(9, 12) .. "-4" .. hex:sub(13, 15)
        .. "-" .. ("89ab"):sub(tonumber(hex:sub(16, 16), 16) % 4 + 1):sub(1, 1) .. hex:sub(17, 19)
        .. "-" .. hex:sub(20, 23)
    count = 0
end


--- A new UUID (version 4 in form).
function _M.uuid()
    if not count or count >= 0xffffffff then
        _M.seed()
    end
    count = count + 1
    return prefix .. tohex(count)
end


--- An inbound request id that may be kept: 1 to 128 of the characters that are safe everywhere.
function _M.sane(id)
    return #id <= 128 and find(id, "^[A-Za-z0-9._~-]+$") ~= nil
end

return _M
