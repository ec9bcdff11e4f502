--- Problem details (RFC 9457): the body of every error answer of the Frontend.

local encode = require("cjson").encode
local format = string.format

local _M = {}

_M.MEDIA_TYPE = "application/problem+json"

local PHRASES = {
    [400] = "Bad Request", [401] = "Unauthorized", [403] = "Forbidden", [404] = "Not Found",
    [405] = "Method Not Allowed", [408] = "Request Timeout", [411] = "Length Required",
    [412] = "Precondition Failed", [413] = "Content Too Large", [414] = "URI Too Long",
    [415] = "Unsupported Media Type", [416] = "Range Not Satisfiable", [421] = "Misdirected Request",
    [429] = "Too Many Requests", [431] = "Request Header Fields Too Large",
    [500] = "Internal Server Error", [501] = "Not Implemented", [502] = "Bad Gateway",
    [503] = "Service Unavailable", [504] = "Gateway Timeout", [505] = "HTTP Version Not Supported",
}


--- The JSON text of a problem.
function _M.body(status, detail, request_id)
    local title = PHRASES[status] or "Error"
    local members = format('{"type":"about:blank","title":"%s","status":%d', title, status)
    if detail then
        members = members .. ',"detail":' .. encode(detail)
    end
    if request_id then
        members = members .. ',"request-id":' .. encode(request_id)
    end
    return members .. "}"
end

return _M
