-- The bare echo in nginx: one STOMP 1.2 link per worker, frames batched into one write, one reader.
-- The yardstick of the bench: no features, no checks, and nothing that would make it slow.
local semaphore = require "ngx.semaphore"
local concat, find, match, sub = table.concat, string.find, string.match, string.sub

local _M = {}
local queued, wake, linked = {}, semaphore.new(), false
local waiting, last = {}, 0
local reply_queue = "bench.reply." .. ngx.worker.pid()

-- Takes whole frames off the front of `buffer`, wakes who waits for them, returns the rest.
local function deliver(buffer)
  local at = match(buffer, "^\n*()")
  while true do
    local head_end = find(buffer, "\n\n", at, true)
    if not head_end then break end
    local head = sub(buffer, at, head_end)
    local length = tonumber(match(head, "\ncontent%-length:(%d+)\n") or 0)
    local frame_end = head_end + 2 + length -- the NUL
    if #buffer < frame_end then break end
    local id = match(head, "\ncorrelation%-id:([^\n]+)\n")
    local entry = id and waiting[id]
    if entry then
      waiting[id] = nil
      entry.body = sub(buffer, head_end + 2, frame_end - 1)
      entry.wake:post()
    elseif not id then
      ngx.log(ngx.ERR, "broker says: ", head)
    end
    at = match(buffer, "^\n*()", frame_end + 1)
  end
  return sub(buffer, at)
end

local function read(sock)
  local buffer = ""
  while true do
    local data, err = sock:receiveany(65536)
    if not data then
      return ngx.log(ngx.ERR, "link lost: ", err)
    end
    buffer = deliver(buffer == "" and data or buffer .. data)
  end
end

local function write(sock)
  while true do
    wake:wait(3600)
    if #queued > 0 then
      local frames = queued
      queued = {}
      assert(sock:send(frames))
    end
  end
end

local function link(premature)
  if premature then return end
  local sock = ngx.socket.tcp()
  sock:settimeouts(5000, 5000, 3600000)
  assert(sock:connect("127.0.0.1", tonumber(os.getenv("ECHO_STOMP_PORT"))))
  assert(sock:send({ "CONNECT\naccept-version:1.2\nhost:/\nheart-beat:0,0\nlogin:", os.getenv("ECHO_USER"),
    "\npasscode:", os.getenv("ECHO_PASSWORD"), "\n\n\0", "SUBSCRIBE\nid:0\nack:auto\nexclusive:true\nauto-delete:true",
    "\ndurable:false\ndestination:/queue/", reply_queue, "\n\n\0" }))
  local connected = assert(sock:receiveuntil("\0"))()
  assert(connected and sub(connected, 1, 9) == "CONNECTED", connected)
  linked = true
  ngx.thread.wait(ngx.thread.spawn(read, sock), ngx.thread.spawn(write, sock))
end

function _M.start()
  assert(ngx.timer.at(0, link))
end

function _M.ready()
  ngx.status = linked and 200 or 503
  ngx.say(ngx.worker.pid())
end

function _M.handle(queue)
  local entry = { wake = semaphore.new() }
  last = last + 1
  local id = tostring(last)
  waiting[id] = entry
  local body = ngx.var.request_uri
  queued[#queued + 1] = concat({ "SEND\ndestination:/amq/queue/", queue, "\nreply-to:", reply_queue, "\ncorrelation-id:", id,
    "\ncontent-length:", #body, "\n\n", body, "\0" })
  if #queued == 1 then wake:post() end
  if not entry.wake:wait(30) then
    waiting[id] = nil
    return ngx.exit(504)
  end
  ngx.header["Content-Length"] = #entry.body
  ngx.print(entry.body)
end

return _M
