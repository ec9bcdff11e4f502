--- Hop-by-hop headers: they belong to one connection and go neither to a Func nor back (RFC 9110, 7.6.1).

local find = string.find
local gmatch = string.gmatch
local lower = string.lower
local type = type

local _M = {}

--- Those that are hop-by-hop without being named. `expect` and `content-length` are spoken by nginx itself.
_M.ALWAYS = {
    ["connection"] = true, ["keep-alive"] = true, ["proxy-authenticate"] = true, ["proxy-authorization"] = true,
    ["proxy-connection"] = true, ["te"] = true, ["trailer"] = true, ["transfer-encoding"] = true, ["upgrade"] = true,
}

local COMMON = { ["keep-alive"] = true, ["close"] = true, ["Keep-Alive"] = true, ["Close"] = true }


--- The further headers that a `Connection` value (a string or an array) names, as a set; nil if none.
function _M.named(connection)
    if connection == nil or COMMON[connection] then
        return nil
    end
    local names
    if type(connection) == "table" then
        for i = 1, #connection do
            for name in gmatch(lower(connection[i]), "[^%s,]+") do
                names = names or {}
                names[name] = true
            end
        end
        return names
    end
    for name in gmatch(lower(connection), "[^%s,]+") do
        names = names or {}
        names[name] = true
    end
    return names
end


--- True when a `Prefer` value (a string or an array) asks for `respond-async` (RFC 7240).
function _M.prefers_async(prefer)
    if type(prefer) == "table" then
        for i = 1, #prefer do
            if _M.prefers_async(prefer[i]) then
                return true
            end
        end
        return false
    end
    return find("," .. lower(prefer) .. ",", "[,%s]respond%-async%s*[,;]") ~= nil
end

return _M
