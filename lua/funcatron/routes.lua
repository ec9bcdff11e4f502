--- The route table: which func queue a host and path belong to.
--
-- A match is the longest base path that ends on a segment border (`/api` takes `/api` and `/api/x`, not `/apix`);
-- the routes of the exact host are tried before those of any host. A look-up costs one hash access per segment.
-- Where two versions share a route, `choose` says which of them takes a request.

local crc32 = ngx.crc32_long
local encode = require("cjson").encode
local find = string.find
local ipairs = ipairs
local lower = string.lower
local null = require("cjson").null
local sub = string.sub
local type = type
local utf8 = require("funcatron.text").utf8

local _M = {}

local Table = {}
Table.__index = Table


local function base_path(path)
    if #path > 1 and sub(path, -1) == "/" then
        path = sub(path, 1, -2)
    end
    return path == "/" and "" or path
end


-- An entry that leads to one queue.
local function plain(route, queue, sha)
    local host, name, limited = route.host, route.name, route.limited
    return {
        -- for the access log, up to the SHA
        described = ',"route":' .. encode(route.path) .. ',"queue":' .. encode(queue) .. ',"sha":"',
        host = type(host) == "string" and host ~= "*" and lower(host) or nil,
        path = route.path,
        queue = queue,
        name = type(name) == "string" and name or nil,
        sha = type(sha) == "string" and sha or nil,
        -- the queue is too deep: a Tron shall tell the caller when to come again
        limited = type(limited) == "table" and limited[queue] and true or nil,
    }
end


-- Those who share a route: an entry each, with the numbers below which a key is its; nil if nobody does.
local function portions(route)
    if type(route.split) ~= "table" then
        return nil
    end
    local shared, below = {}, 0
    for i, one in ipairs(route.split) do
        if type(one) ~= "table" or type(one.queue) ~= "string" or type(one.percent) ~= "number" then
            return nil
        end
        below = below + one.percent
        shared[i] = { below = below, route = plain(route, one.queue, one.sha), percent = one.percent }
    end
    return shared[1] and shared or nil
end


-- One entry of a `route` message, or nil if it is none.
local function entry(route)
    if type(route) ~= "table" or type(route.path) ~= "string" or type(route.queue) ~= "string" then
        return nil
    end
    local made = plain(route, route.queue, route.sha)
    made.split = portions(route)
    made.sticky = made.split and type(route.sticky) == "string" and lower(route.sticky) or nil
    return made
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


--- The plain route that a request takes: `route` itself, or that of one of those who share it. A key, the value of the
-- header that the route names or else the request id, is dealt out by its CRC-32 modulo 100, as in
-- funcatron/tron/routes.py. `headers`: by lower-case name.
function _M.choose(route, request_id, headers)
    local split = route.split
    if not split then
        return route
    end
    local key = route.sticky and headers[route.sticky] or request_id
    if type(key) == "table" then -- a repeated header
        key = key[1]
    end
    local number = crc32(utf8(key)) % 100
    for i = 1, #split do
        if number < split[i].below then
            return split[i].route
        end
    end
    return split[1].route
end


--- Routes as `GET /__routes` gives them: the original's keys, then what else is known.
function Table:describe()
    local described = {}
    for i, route in ipairs(self.list) do
        local shared
        for j, one in ipairs(route.split or {}) do
            shared = shared or {}
            shared[j] = { queue = one.route.queue, sha = one.route.sha, percent = one.percent }
        end
        described[i] = { host = route.host or null, path = route.path, queue = route.queue, name = route.name,
            sha = route.sha, split = shared, sticky = route.sticky }
    end
    return described
end

return _M
