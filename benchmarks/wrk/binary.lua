-- 1 MB of bytes, most of them no valid UTF-8, NULs and line ends among them.
dofile("report.lua")

local block = {}
for i = 0, 255 do
  block[i + 1] = string.char((i * 167 + 13) % 256)
end

wrk.method = "POST"
wrk.headers["Content-Type"] = "application/octet-stream"
wrk.body = string.rep(table.concat(block), 4096)
