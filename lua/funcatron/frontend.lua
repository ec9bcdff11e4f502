--- The one module that nginx's configuration talks to; each function says its phase.
-- Nothing happens on `require`.

local bodies = require "funcatron.bodies"
local config = require "funcatron.config"
local control = require "funcatron.control"
local handler = require "funcatron.handler"
local id = require "funcatron.id"

local ffi = require "ffi"

local _M = { VERSION = control.VERSION }

local SIGQUIT = 3

local settings, folder, frontend


ffi.cdef [[
    int kill(int pid, int signal);
    struct funcatron_sched_param { int sched_priority; };
    int sched_setscheduler(int pid, int policy, const struct funcatron_sched_param *param);
]]
local SCHED_BATCH = 3 -- <linux/sched.h>


-- Let what wakes this worker up finish its turn first (sched(7)): on a busy machine more messages come with each
-- wake-up, on an idle one nothing changes. Where a sandbox forbids it, all stays as it is.
local function in_batches()
    if ffi.os == "Linux" then
        ffi.C.sched_setscheduler(0, SCHED_BATCH, ffi.new("struct funcatron_sched_param"))
    end
end


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
    if settings.bodies then
        folder, err = bodies.folder(settings.bodies)
        if not folder then
            error("funcatron: FUNCATRON_BODIES cannot be used: " .. err, 0)
        end
    end
end


--- Start this worker's link; in `init_worker_by_lua`.
function _M.init_worker()
    local worker = ngx.worker.id()
    if not worker then -- a process of nginx that serves no requests
        return
    end
    in_batches()
    id.seed()
    math.randomseed(tonumber(id.random_hex(6), 16))
    local instance = settings.instance or id.random_hex(4)
    local me = control.new(settings, {
        id = instance .. "-" .. worker .. "-" .. id.random_hex(3), instance = instance, worker = worker,
        hostname = hostname(), pid = ngx.worker.pid(),
    }, die)
    frontend = handler.new(settings, me, folder)
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
