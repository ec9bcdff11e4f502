--- What a Frontend answers itself: `/__routes`, `/__health`, `/__ready`, `/__stats`.
--
-- On the public port a Func goes first: these paths are looked at only when no route of the table takes them (a Func
-- at base path `/` takes them all). Where probes must always reach the Frontend, give it a status port (see
-- nginx/funcatron-status.conf), which knows no Funcs.

local cjson = require "cjson"
local pending = require "funcatron.pending"
local response = require "funcatron.response"

local collectgarbage = collectgarbage
local concat = table.concat
local encode = cjson.encode

local _M = {}

local pages = {}


-- As the original; the table's own version beside it.
pages["/__routes"] = function(handler)
    local control = handler.control
    local routes = {}
    for i, route in ipairs(control.routes:describe()) do
        routes[i] = encode(route)
    end
    response.json(200, '{"version":' .. encode(control.VERSION)
        .. (control.routes_version and ',"routes-version":' .. encode(control.routes_version) or "")
        .. ',"routes":[' .. concat(routes, ",") .. "]}")
end


-- Live: this worker runs its event loop.
pages["/__health"] = function()
    response.json(200, '{"status":"pass"}')
end


-- Ready: requests would be taken.
pages["/__ready"] = function(handler)
    local link = handler.link
    if link.up and pending.waiting() < handler.config.max_waiting then
        return response.json(200, '{"status":"pass"}')
    end
    response.problem(503, "the link to the message broker is " .. link.state, ngx.var.funcatron_request_id, 1)
end


-- Counters of this one worker since its start.
pages["/__stats"] = function(handler)
    local link, control = handler.link, handler.control
    response.json(200, encode({
        instance = handler.from,
        link = {
            state = link.state, queue = link.queue, connects = link.connects, stalls = link.stalls,
            ["frames-sent"] = link:frames_sent(), ["frames-received"] = link.received,
        },
        requests = handler.counts,
        waiting = pending.waiting(),
        ended = pending.counters(),
        routes = #control.routes.list,
        ["routes-version"] = control.routes_version,
        ["routes-from"] = control.routes_from,
        ["tron-host"] = control.tron,
        ["messages-ignored"] = control.ignored,
        ["lua-bytes"] = collectgarbage("count") * 1024,
    }))
end


--- Answer the current request if `path` is one of these; false if not.
function _M.answer(handler, path)
    local page = pages[path]
    if not page then
        return false
    end
    local method = ngx.req.get_method()
    if method == "GET" or method == "HEAD" then
        page(handler)
    else
        ngx.header.Allow = "GET, HEAD"
        response.problem(405, nil, ngx.var.funcatron_request_id)
    end
    return true
end

return _M
