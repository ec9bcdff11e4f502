--- Frames that are to be sent: anyone of the worker puts them in, one writer takes them out, many at a time.
-- One outbox a connection: what a broken connection did not send never reaches the next one.

local clear = require "table.clear"
local max = math.max
local now = ngx.now
local semaphore = require "ngx.semaphore"
local setmetatable = setmetatable
local sub = string.sub

local _M = {}
local Outbox = {}
Outbox.__index = Outbox

local SLICE = 1024 * 1024 -- bytes; nginx keeps a send buffer of the largest size ever sent


--- An empty outbox.
function _M.new()
    return setmetatable({
        pieces = {}, count = 0, bytes = 0, -- what waits
        spare = {}, -- the other array: they take turns
        work = semaphore.new(0), writer_waits = false,
        sending_since = nil, -- when the piece of work that is being sent was begun
        frames = 0, -- put in so far
    }, Outbox)
end


local function wake_writer(self)
    self.frames = self.frames + 1
    if self.writer_waits then
        self.writer_waits = false
        self.work:post(1)
    end
end


--- Put in a whole frame. From any phase; never yields.
function Outbox:put(frame)
    local count = self.count + 1
    self.pieces[count], self.count = frame, count
    self.bytes = self.bytes + #frame
    wake_writer(self)
end


--- Put in one frame that is given in pieces.
function Outbox:put_pieces(frame)
    local pieces, count, bytes = self.pieces, self.count, self.bytes
    local added = #frame
    for i = 1, added do
        local piece = frame[i]
        pieces[count + i] = piece
        bytes = bytes + #piece
    end
    self.count, self.bytes = count + added, bytes
    wake_writer(self)
end


--- Throw away what has not been taken yet.
function Outbox:drop()
    clear(self.pieces)
    self.count, self.bytes = 0, 0
end


--- True when everything has been sent.
function Outbox:empty()
    return self.count == 0 and not self.sending_since
end


--- Wait up to `seconds` for something to send; true if there is. For the writer.
function Outbox:wait(seconds)
    if self.count == 0 then
        self.writer_waits = true
        self.work:wait(seconds)
        self.writer_waits = false
    end
    return self.count > 0
end


-- Send in slices, so that the buffers below stay small and progress is seen.
local function send_sliced(self, client, batch, count)
    local part, n, bytes = {}, 0, 0
    local function flush()
        if n == 0 then
            return true
        end
        self.sending_since = now()
        local ok, err = client:send_raw(part)
        clear(part)
        n, bytes = 0, 0
        return ok, err
    end
    for i = 1, count do
        local piece = batch[i]
        for from = 1, max(#piece, 1), SLICE do
            local bit = #piece <= SLICE and piece or sub(piece, from, from + SLICE - 1)
            if bytes + #bit > SLICE then
                local ok, err = flush()
                if not ok then
                    return nil, err
                end
            end
            n, bytes = n + 1, bytes + #bit
            part[n] = bit
        end
    end
    return flush()
end


--- Send all that waits. For the writer, the only one that may yield in here.
function Outbox:flush(client)
    local batch, count, bytes = self.pieces, self.count, self.bytes
    self.pieces, self.count, self.bytes, self.spare = self.spare, 0, 0, batch
    self.sending_since = now()
    local ok, err
    if bytes <= SLICE then
        ok, err = client:send_raw(batch)
    else
        ok, err = send_sliced(self, client, batch, count)
    end
    self.sending_since = nil
    clear(batch)
    return ok, err
end

return _M
