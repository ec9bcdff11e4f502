--- The requests of this worker that wait for an answer, by correlation id.
--
-- A slot is registered before its message is sent, so that no answer can overtake it. Waking is one table look-up.
-- A request leaves by its answer, by its deadline, because the link failed it, or (`forget`, from the log phase)
-- because its client went away. What comes later is counted and dropped.
-- Slots and their semaphores are used again.

local semaphore = require "ngx.semaphore"

local now = ngx.now
local pairs = pairs

local _M = {}

local POOL = 512 -- free slots kept
local STALE = 300 -- s; how long an id that was given up is known, unless there are very many
local STALE_IDS = 50000

local slots, waiting = {}, 0
local free, spare = {}, 0
-- ids that were given up while an answer may still come: two generations, so that dropping old ones costs nothing
local stale, stale_before, stale_since, stale_ids = {}, {}, 0, 0

local count = { late = 0, unknown = 0, timed_out = 0, abandoned = 0, failed = 0 }


local function remember(id)
    local at = now()
    if at - stale_since > STALE or stale_ids >= STALE_IDS then
        stale_before, stale, stale_since, stale_ids = stale, {}, at, 0
    end
    stale[id] = true
    stale_ids = stale_ids + 1
end


--- Register a request. Returns its slot, or nil when `limit` requests wait already.
-- The id must be free: see `taken`.
function _M.register(id, limit)
    if waiting >= limit then
        return nil
    end
    local slot = free[spare]
    if slot then
        free[spare] = nil
        spare = spare - 1
    else
        slot = { sema = semaphore.new(0), id = false, answer = false, failure = false }
    end
    slot.id = id
    slots[id] = slot
    waiting = waiting + 1
    return slot
end


--- True when an answer to another request with this id is still awaited or may still come.
function _M.taken(id)
    return slots[id] ~= nil or stale[id] ~= nil or stale_before[id] ~= nil
end


--- True when a request waits under this id.
function _M.waits(id)
    return slots[id] ~= nil
end


local function leave(slot)
    slots[slot.id] = nil
    waiting = waiting - 1
end


-- Keep a slot for the next request, unless its semaphore has a post that nobody took.
local function recycle(slot)
    slot.id, slot.answer, slot.failure = false, false, false
    if spare < POOL and slot.sema:count() == 0 then
        spare = spare + 1
        free[spare] = slot
    end
end


--- Wait up to `seconds`. Returns the answer's bytes; or nil and "timeout" or what the link said to `fail_all`.
function _M.wait(slot, seconds)
    local ok = slot.sema:wait(seconds)
    local answer, failure = slot.answer, slot.failure
    if not ok and not answer and not failure then
        leave(slot)
        remember(slot.id)
        count.timed_out = count.timed_out + 1
        failure = "timeout"
    end
    recycle(slot)
    if answer then
        return answer
    end
    return nil, failure
end


--- Wake the request with that id; false if there is none.
function _M.wake(id, answer)
    local slot = slots[id]
    if not slot then
        return false
    end
    slot.answer = answer
    leave(slot)
    slot.sema:post(1)
    return true
end


--- Count an answer that nobody waits for (any more).
function _M.drop(id)
    if id and (stale[id] or stale_before[id]) then
        stale[id], stale_before[id] = nil, nil
        count.late = count.late + 1
    else
        count.unknown = count.unknown + 1
    end
end


--- Free the slot of a request that was cut off while it waited. Nothing happens if it does not wait.
function _M.forget(id)
    local slot = slots[id]
    if slot then
        -- its light thread is dead, and the semaphore with it as far as we know: not used again
        leave(slot)
        remember(id)
        count.abandoned = count.abandoned + 1
    end
end


--- Answer every waiting request with a failure.
function _M.fail_all(failure)
    local failed = slots
    slots, waiting = {}, 0
    for id, slot in pairs(failed) do
        slot.failure = failure
        remember(id)
        slot.sema:post(1)
        count.failed = count.failed + 1
    end
end


function _M.waiting()
    return waiting
end


--- Counters since the worker's start: late, unknown, timed_out, abandoned, failed.
function _M.counters()
    return count
end


return _M
