-- A JSON document of about 10 kB: an order with 64 lines, as the spec's `order` operation wants it.
dofile("report.lua")

local lines = {}
for i = 1, 64 do
  lines[i] = string.format(
    '{"sku":"SKU-%05d","name":"A thing of some use, number %d","quantity":%d,"price":%d.5,'
      .. '"tags":["blue","small","on sale"],"gift":%s}',
    i, i, i % 9 + 1, i * 3, i % 2 == 0 and "true" or "false")
end

wrk.method = "POST"
wrk.headers["Content-Type"] = "application/json"
wrk.body = '{"customer":"Ada Lovelace","email":"ada@example.org","lines":[' .. table.concat(lines, ",") .. "]}"
