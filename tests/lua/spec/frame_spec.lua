-- The STOMP codec against scripted bytes.

local frame = require "funcatron.stomp.frame"
local t = require "harness"

t.begin()
local it, equal, ok, contains = t.it, t.equal, t.ok, t.contains


local function decode_all(decoder, ...)
    local frames = {}
    for i = 1, select("#", ...) do
        decoder:feed((select(i, ...)))
        while true do
            local command, headers, body = decoder:next()
            if not command then
                if headers then
                    return frames, headers
                end
                break
            end
            frames[#frames + 1] = { command, headers, body }
        end
    end
    return frames
end


local function decode(bytes, limits)
    return decode_all(frame.decoder(limits), bytes)
end


it("encodes a frame with the length of its body", function()
    equal(frame.encode("SEND", { { "destination", "/queue/a" } }, "hi"),
        "SEND\ndestination:/queue/a\ncontent-length:2\n\nhi\0")
end)

it("encodes a frame without a body and without headers", function()
    equal(frame.encode("DISCONNECT"), "DISCONNECT\n\n\0")
end)

it("sets the content-length itself, whatever the caller says", function()
    equal(frame.encode("SEND", { ["content-length"] = 99 }, "abc"), "SEND\ncontent-length:3\n\nabc\0")
end)

it("escapes line breaks, colons and backslashes in names and values", function()
    equal(frame.encode("SEND", { { "a:b", "c\nd\re\\f:g" } }), "SEND\na\\cb:c\\nd\\re\\\\f\\cg\n\n\0")
end)

it("escapes nothing in CONNECT, and refuses line breaks there", function()
    equal(frame.encode("CONNECT", { { "passcode", "a:b\\n" } }), "CONNECT\npasscode:a:b\\n\n\n\0")
    local done, err = pcall(frame.encode, "CONNECT", { passcode = "a\nb" })
    ok(not done)
    contains(err, "line break")
end)

it("leaves the caller's headers as they are", function()
    local headers = { destination = "/queue/a" }
    frame.encode("SEND", headers, "body")
    equal(headers, { destination = "/queue/a" })
end)

it("decodes a frame by its content-length, with NULs in the body", function()
    local frames = decode("MESSAGE\nsubscription:1\ncontent-length:5\n\na\0b\0c\0\n")
    equal(frames, { { "MESSAGE", { subscription = "1", ["content-length"] = "5" }, "a\0b\0c" } })
end)

it("decodes a body without a length up to the first NUL", function()
    equal(decode("ERROR\nmessage:no\n\nwhy\0"), { { "ERROR", { message = "no" }, "why" } })
end)

it("decodes an empty body, with and without a length", function()
    equal(decode("RECEIPT\nreceipt-id:1\n\n\0RECEIPT\nreceipt-id:2\ncontent-length:0\n\n\0"), {
        { "RECEIPT", { ["receipt-id"] = "1" }, "" },
        { "RECEIPT", { ["receipt-id"] = "2", ["content-length"] = "0" }, "" },
    })
end)

it("takes carriage returns at the ends of lines, mixed with bare line feeds", function()
    equal(decode("MESSAGE\r\na:1\nb:2\r\n\r\nx\0"), { { "MESSAGE", { a = "1", b = "2" }, "x" } })
end)

it("skips heart-beats between frames", function()
    equal(decode("\n\r\n\nRECEIPT\nreceipt-id:1\n\n\0\n\n\nRECEIPT\nreceipt-id:2\n\n\0\n"), {
        { "RECEIPT", { ["receipt-id"] = "1" }, "" }, { "RECEIPT", { ["receipt-id"] = "2" }, "" },
    })
end)

it("keeps the first of repeated headers", function()
    equal(decode("MESSAGE\nfoo:World\nfoo:Hello\n\n\0"), { { "MESSAGE", { foo = "World" }, "" } })
end)

it("undoes the escapes of header names and values", function()
    equal(decode("MESSAGE\na\\cb:c\\nd\\re\\\\f\\cg\n\n\0"), { { "MESSAGE", { ["a:b"] = "c\nd\re\\f:g" }, "" } })
end)

it("keeps colons after the first one in the value", function()
    equal(decode("MESSAGE\na:b:c\n\n\0"), { { "MESSAGE", { a = "b:c" }, "" } })
end)

it("unescapes nothing in CONNECTED", function()
    equal(decode("CONNECTED\nserver:a\\b\n\n\0"), { { "CONNECTED", { server = "a\\b" }, "" } })
end)

it("refuses an undefined escape, and stays broken", function()
    local decoder = frame.decoder()
    local _, err = decode_all(decoder, "MESSAGE\na:b\\t\n\n\0")
    contains(err, "undefined escape")
    local _, again = decode_all(decoder, "RECEIPT\nreceipt-id:1\n\n\0")
    equal(again, err)
end)

it("refuses a header that ends in a lone backslash", function()
    local _, err = decode("MESSAGE\na:b\\\n\n\0")
    contains(err, "undefined escape")
end)

it("refuses a header without a colon", function()
    local _, err = decode("MESSAGE\nnonsense\n\n\0")
    contains(err, "colon")
end)

it("refuses a bad content-length", function()
    for _, length in ipairs({ "-1", "1e3", "0x10", "", " 5", "5.0" }) do
        local _, err = decode("MESSAGE\ncontent-length:" .. length .. "\n\nabcde\0")
        contains(err, "content-length")
    end
end)

it("refuses a body that is followed by anything but NUL", function()
    local _, err = decode("MESSAGE\ncontent-length:2\n\nabc\0")
    contains(err, "NUL")
end)

it("refuses a head over the limit, whole or not", function()
    local _, err = decode("MESSAGE\na:" .. ("x"):rep(200) .. "\n\n\0", { head = 100 })
    contains(err, "limit of 100")
    _, err = decode("MESSAGE\na:" .. ("x"):rep(200), { head = 100 })
    contains(err, "limit of 100")
    _, err = decode("MESSAGE\n" .. ("a:b\n"):rep(50), { head = 100 })
    contains(err, "limit of 100")
end)

it("refuses a body over the limit, as soon as its length is known", function()
    local _, err = decode("MESSAGE\ncontent-length:101\n\n", { body = 100 })
    contains(err, "limit of 100")
    _, err = decode("MESSAGE\n\n" .. ("x"):rep(101), { body = 100 })
    contains(err, "limit of 100")
end)

it("takes a head and a body that are just within their limits", function()
    local head = "MESSAGE\na:" .. ("x"):rep(20) .. "\n"
    equal(decode(head .. "\n" .. ("y"):rep(7) .. "\0", { head = #head, body = 7 }),
        { { "MESSAGE", { a = ("x"):rep(20) }, ("y"):rep(7) } })
end)

it("decodes frames that come byte by byte", function()
    local bytes = "\nMESSAGE\r\na\\c:1\n\nx\0\nMESSAGE\ncontent-length:3\n\n\0\0\0\0\nRECEIPT\nreceipt-id:1\n\n\0"
    local pieces = {}
    for i = 1, #bytes do
        pieces[i] = bytes:sub(i, i)
    end
    equal(decode_all(frame.decoder(), unpack(pieces)), {
        { "MESSAGE", { ["a:"] = "1" }, "x" },
        { "MESSAGE", { ["content-length"] = "3" }, "\0\0\0" },
        { "RECEIPT", { ["receipt-id"] = "1" }, "" },
    })
end)

it("decodes the same frames however the stream is split", function()
    math.randomseed(20240607)
    local random = math.random
    local function noise(size)
        local chars = {}
        for i = 1, size do
            chars[i] = string.char(random(0, 255))
        end
        return table.concat(chars)
    end
    for _ = 1, 200 do
        local expected, stream = {}, {}
        for i = 1, random(1, 6) do
            local name, value = "h" .. noise(random(0, 8)), noise(random(0, 20))
            local body = noise(random(0, 3) == 0 and random(0, 3000) or random(0, 40))
            expected[i] = { "MESSAGE", { [name] = value, ["content-length"] = tostring(#body) }, body }
            stream[#stream + 1] = frame.encode("MESSAGE", { [name] = value }, body)
            stream[#stream + 1] = ("\n"):rep(random(0, 2))
        end
        local bytes = table.concat(stream)
        local pieces, from = {}, 1
        while from <= #bytes do
            local size = random(0, 1) == 0 and random(1, 9) or random(1, 1500)
            pieces[#pieces + 1] = bytes:sub(from, from + size - 1)
            from = from + size
        end
        equal(decode_all(frame.decoder(), unpack(pieces)), expected)
    end
end)

it("ends in an error or waits for more, but never raises, on noise", function()
    math.randomseed(7)
    local parts = { "MESSAGE", "SEND", "\n", "\n", "\r\n", "\0", ":", "\\", "content-length:", "9", "-", "x", "\255" }
    for _ = 1, 3000 do
        local bytes = {}
        for i = 1, math.random(1, 40) do
            bytes[i] = parts[math.random(#parts)]
        end
        local frames = decode(table.concat(bytes), { head = 200, body = 200 })
        ok(#frames <= 40)
    end
end)

it("keeps the headers of a frame that comes in pieces in the table that it is given", function()
    local bytes = frame.encode("MESSAGE", { { "a", "1" }, { "b", "2" } }, "x"):rep(3)
    for size = 1, #bytes do
        local decoder, into, count = frame.decoder(), { old = "x" }, 0
        for from = 1, #bytes, size do
            decoder:feed(bytes:sub(from, from + size - 1))
            while true do
                local command, headers = decoder:next(into)
                if not command then
                    break
                end
                equal(headers, { a = "1", b = "2", ["content-length"] = "1" })
                count = count + 1
            end
        end
        equal(count, 3)
    end
end)

it("fills the header table that it is given", function()
    local decoder, into = frame.decoder(), {}
    decoder:feed("RECEIPT\nreceipt-id:1\n\n\0")
    local _, headers = decoder:next(into)
    ok(headers == into)
    equal(into, { ["receipt-id"] = "1" })
end)

it("may put a salt after a body that a JSON parser does not see", function()
    local decoder = frame.decoder({ salt = true })
    decoder:feed(frame.encode("MESSAGE", {}, '{"a":1}'):rep(2) .. frame.encode("MESSAGE", {}, ""))
    local _, _, first, length = decoder:next()
    local _, _, second = decoder:next()
    equal(length, 7)
    equal(first:sub(1, 7), '{"a":1}')
    ok(first ~= second)
    equal(require("cjson").decode(first), { a = 1 })
    local _, _, empty, none = decoder:next()
    equal(empty, "")
    equal(none, 0)
end)

it("may leave out the headers that nobody wants", function()
    local decoder = frame.decoder({ wanted = { a = true, ["content-length"] = true } })
    decoder:feed(frame.encode("MESSAGE", { a = "1:2", b = "3" }, "x\0y"))
    local _, headers, body = decoder:next()
    equal(headers, { a = "1:2", ["content-length"] = "3" })
    equal(body, "x\0y")
end)

it("knows when it is between frames", function()
    local decoder = frame.decoder()
    ok(decoder:settle())
    decoder:feed("\n\nRECEI")
    ok(not decoder:settle())
    decoder:feed("PT\nreceipt-id:1\n\n\0\r\n")
    ok(decoder:next())
    ok(decoder:settle())
end)

it("joins a large body that comes in many reads", function()
    local decoder, body = frame.decoder(), ("0123456789"):rep(100000)
    local bytes = frame.encode("MESSAGE", {}, body)
    local frames = {}
    for from = 1, #bytes, 4096 do
        decoder:feed(bytes:sub(from, from + 4095))
        local command, _, got = decoder:next()
        if command then
            frames[#frames + 1] = got
        end
    end
    equal(#frames, 1)
    ok(frames[1] == body)
end)

return t.run()
