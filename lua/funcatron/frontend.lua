--- The one module that nginx's configuration talks to; each function says its phase.
-- Nothing happens on `require`.

local config = require "funcatron.config"
local control = require "funcatron.control"
local handler = require "funcatron.handler"
local id = require "funcatron.id"

local ffi = require "ffi"

local _M = { VERSION = control.VERSION }

local SIGQUIT = 3

local settings, frontend


ffi.cdef [[ int kill(int pid, int signal); ]]


-- A graceful end of this worker; nginx's master starts another one in its place.
local function die()
    ffi.C.kill(ngx.worker.pid(), SIGQUIT)
end


local function hostname()
    local file = io.open("/proc/sys/kernel/hostname")
    local name = file and file:read("*l")
    if file then
        file:close()
    end
    return name or os.getenv("HOSTNAME") or "unknown"
end


--- Read the settings; in `init_by_lua`. A wrong setting keeps nginx from starting, and says which.
function _M.init()
    local err
    settings, err = config.load()
    if not settings then
        error("funcatron: " .. err, 0)
    end
end


--- Start this worker's link; in `init_worker_by_lua`.
function _M.init_worker()
    local worker = ngx.worker.id()
    if not worker then -- a process of nginx that serves no requests
        return
    end
    id.seed()
    math.randomseed(tonumber(id.random_hex(6), 16))
    local instance = settings.instance or id.random_hex(4)
    local me = control.new(settings, {
        id = instance .. "-" .. worker .. "-" .. id.random_hex(3), instance = instance, worker = worker,
        hostname = hostname(), pid = ngx.worker.pid(),
    }, die)
    frontend = handler.new(settings, me)
    me.link:start(function()
        return frontend.busy
    end)
end


--- Handle a request; in `content_by_lua`.
function _M.handle()
    return frontend:handle()
end


--- Tidy up after a request; in `log_by_lua`.
function _M.finish()
    return frontend:finish()
end


--- Answer an error of nginx; in `content_by_lua` of the location that `error_page` names.
function _M.problem()
    return frontend:problem()
end


--- Answer a page of the Frontend's own whatever Funcs there are; in `content_by_lua` of the status server.
function _M.status()
    return frontend:status()
end

return _M
