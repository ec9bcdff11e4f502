--- The route table: which func queue a host and path belong to.
--
-- A match is the longest base path that ends on a segment border (`/api` takes `/api` and `/api/x`, not `/apix`);
-- the routes of the exact host are tried before those of any host. A look-up costs one hash access per segment.

local find = string.find
local ipairs = ipairs
local lower = string.lower
local null = require("cjson").null
local sub = string.sub
local type = type

local _M = {}

local Table = {}
Table.__index = Table


local function base_path(path)
    if #path > 1 and sub(path, -1) == "/" then
        path = sub(path, 1, -2)
    end
    return path == "/" and "" or path
end


-- One entry of a `route` message, or nil if it is none.
local function entry(route)
    if type(route) ~= "table" or type(route.path) ~= "string" or type(route.queue) ~= "string" then
        return nil
    end
    local host, name, sha = route.host, route.name, route.sha
    return {
        host = type(host) == "string" and host ~= "*" and lower(host) or nil,
        path = route.path,
        queue = route.queue,
        name = type(name) == "string" and name or nil,
        sha = type(sha) == "string" and sha or nil,
    }
end


--- A table from the `routes` of a `route` message, in the order to try them; entries that are none are left out.
function _M.new(routes)
    local self = setmetatable({ any = {}, hosts = {}, has_hosts = false, list = {}, left_out = 0 }, Table)
    for _, route in ipairs(type(routes) == "table" and routes or {}) do
        local made = entry(route)
        if made then
            self.list[#self.list + 1] = made
            local of_host = self.any
            if made.host then
                of_host = self.hosts[made.host] or {}
                self.hosts[made.host], self.has_hosts = of_host, true
            end
            local path = base_path(made.path)
            of_host[path] = of_host[path] or made
        else
            self.left_out = self.left_out + 1
        end
    end
    return self
end


-- The longest prefix of `path` on a segment border that `of_host` has.
local function longest(of_host, path)
    local best = of_host[""]
    local pos = 2
    while true do
        local slash = find(path, "/", pos, true)
        local route = of_host[slash and sub(path, 1, slash - 1) or path]
        if route then
            best = route
        end
        if not slash then
            return best
        end
        pos = slash + 1
    end
end


--- The route for a host (lower case, without port) and a raw path (without query), or nil.
function Table:match(host, path)
    if self.has_hosts then
        local of_host = self.hosts[host]
        local route = of_host and longest(of_host, path)
        if route then
            return route
        end
    end
    return longest(self.any, path)
end


--- Routes as `GET /__routes` gives them: the original's keys, then what else is known.
function Table:describe()
    local described = {}
    for i, route in ipairs(self.list) do
        described[i] = { host = route.host or null, path = route.path, queue = route.queue, name = route.name,
            sha = route.sha }
    end
    return described
end

return _M
