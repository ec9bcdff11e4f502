-- The pure modules: config, id, text, hop, routes, problem, request keys, answers.

local cjson = require "cjson"
local config = require "funcatron.config"
local hop = require "funcatron.hop"
local hosts = require "funcatron.hosts"
local id = require "funcatron.id"
local problem = require "funcatron.problem"
local response = require "funcatron.response"
local routes = require "funcatron.routes"
local text = require "funcatron.text"
local t = require "harness"

t.begin()
local it, equal, ok, contains = t.it, t.equal, t.ok, t.contains


-- config

local function load(env)
    return config.load(function(name)
        return env[name]
    end)
end

it("has defaults for every setting", function()
    local settings = load({})
    equal(settings.host, "127.0.0.1")
    equal(settings.port, 61613)
    equal(settings.tron_queue, "for_tron")
    equal(settings.routing, "firehose")
    equal(settings.password, "guest")
    equal(settings.tls, false)
    equal(settings.instance, nil)
end)

it("reads settings from the environment", function()
    local settings = load({ RABBIT_PORT = "5", FUNCATRON_ROUTING = "direct", RABBIT_TLS = "on", INSTANCEID = "x",
        FUNCATRON_REQUEST_TIMEOUT = "0.5", RABBIT_HOST = "" })
    equal(settings.port, 5)
    equal(settings.routing, "direct")
    equal(settings.tls, true)
    equal(settings.instance, "x")
    equal(settings.request_timeout, 0.5)
    equal(settings.host, "127.0.0.1", "an empty variable counts as absent")
end)

it("names the variable that is wrong", function()
    local _, err = load({ RABBIT_PORT = "many" })
    contains(err, "RABBIT_PORT must be a number from 1 to 65535, not many")
    _, err = load({ FUNCATRON_ROUTING = "sideways" })
    contains(err, "FUNCATRON_ROUTING")
end)

it("reads the password from a file, and says when it cannot", function()
    local path = os.tmpname()
    local file = assert(io.open(path, "w"))
    file:write("s3:cret\\ word\n")
    file:close()
    equal(load({ RABBIT_PWD_FILE = path, RABBIT_PWD = "other" }).password, "s3:cret\\ word")
    os.remove(path)
    local _, err = load({ RABBIT_PWD_FILE = path })
    contains(err, "RABBIT_PWD_FILE cannot be read")
end)

it("freezes its settings and refuses unknown ones", function()
    local settings = load({})
    ok(not pcall(function() return settings.prot end))
    ok(not pcall(function() settings.port = 1 end))
    ok(not pcall(function() settings.new = 1 end))
end)


-- id

it("makes UUIDs that differ", function()
    local seen = {}
    for _ = 1, 1000 do
        local made = id.uuid()
        ok(made:find("^%x%x%x%x%x%x%x%x%-%x%x%x%x%-4%x%x%x%-[89ab]%x%x%x%-%x%x%x%x%x%x%x%x%x%x%x%x$"), made)
        ok(not seen[made])
        seen[made] = true
    end
    id.seed()
    ok(not seen[id.uuid()])
end)

it("keeps only inbound ids of harmless characters and length", function()
    for _, good in ipairs({ "a", "A-b_c.d~9", ("x"):rep(128) }) do
        ok(id.sane(good), good)
    end
    for _, bad in ipairs({ "", ("x"):rep(129), "a b", "a\nb", "a:b", "ä", "!ping", 'a"b' }) do
        ok(not id.sane(bad), bad)
    end
end)


-- text

it("knows valid UTF-8 from invalid", function()
    for _, good in ipairs({ "", "abc", "abcd", "grün", "€", "\240\159\152\128", "\0", "aaaa\195\169" }) do
        ok(text.is_utf8(good), good)
    end
    for _, bad in ipairs({ "\128", "\195", "abc\255", "\192\175", "\224\128\128", "\237\160\128", "\244\144\128\128",
        "\245\128\128\128", "aaaa\226\130", "\226\40\161", "\240\159\152" }) do
        ok(not text.is_utf8(bad), bad)
    end
end)

it("takes bytes that are not UTF-8 as Latin-1", function()
    equal(text.utf8("gr\252n"), "grün")
    equal(text.utf8("grün"), "grün")
    equal(text.utf8("\255\128"), "\195\191\194\128")
end)

it("tells text from binary by the content type", function()
    for _, kind in ipairs({ "text/plain", "application/json", "Application/JSON; charset=utf-8", "image/svg+xml",
        "application/problem+json", "application/xml", "application/x-www-form-urlencoded", "text/csv;header=present" })
    do
        ok(text.is_textual(kind), kind)
    end
    for _, kind in ipairs({ "image/png", "application/octet-stream", "multipart/form-data; boundary=x", "", "json",
        "application/jsonl" }) do
        ok(not text.is_textual(kind), kind)
    end
end)


-- hop

it("finds the headers that Connection names", function()
    equal(hop.named(nil), nil)
    equal(hop.named("close"), nil)
    equal(hop.named("X-Foo, close"), { ["x-foo"] = true, close = true })
    equal(hop.named({ "a", "B" }), { a = true, b = true })
end)

it("finds respond-async among preferences", function()
    for _, prefer in ipairs({ "respond-async", "Respond-Async", "wait=5, respond-async", "respond-async;x=1" }) do
        ok(hop.prefers_async(prefer), prefer)
    end
    ok(hop.prefers_async({ "return=minimal", "respond-async" }))
    for _, prefer in ipairs({ "", "return=minimal", "respond-asynchronously", "not-respond-async" }) do
        ok(not hop.prefers_async(prefer), prefer)
    end
end)


-- hosts

it("finds names of the hosts file, and leaves others as they are", function()
    local path = os.tmpname()
    local file = assert(io.open(path, "w"))
    file:write("# 10.9.9.9 rabbit\n::1 localhost rabbit\n127.0.0.1 localhost\n10.1.2.3\tRabbit.local  rabbit # alias\n")
    file:close()
    equal(hosts.resolve("rabbit", path), "10.1.2.3")
    equal(hosts.resolve("RABBIT.local", path), "10.1.2.3")
    equal(hosts.resolve("localhost", path), "127.0.0.1")
    equal(hosts.resolve("alias", path), "alias")
    equal(hosts.resolve("10.0.0.1", path), "10.0.0.1")
    os.remove(path)
    equal(hosts.resolve("rabbit", path), "rabbit")
end)


-- routes

local function queue(made, host, path)
    local route = made:match(host, path)
    return route and route.queue
end

it("matches the longest base path on segment borders", function()
    local made = routes.new({ { path = "/api/v2", queue = "v2" }, { path = "/api", queue = "api" } })
    equal(queue(made, "h", "/api"), "api")
    equal(queue(made, "h", "/api/"), "api")
    equal(queue(made, "h", "/api/v2/x/y"), "v2")
    equal(queue(made, "h", "/api/v22"), "api")
    equal(queue(made, "h", "/apix"), nil)
    equal(queue(made, "h", "/"), nil)
    equal(queue(made, "h", "/x/api"), nil)
end)

it("lets base path / take everything", function()
    local made = routes.new({ { path = "/a", queue = "a" }, { path = "/", queue = "root" } })
    equal(queue(made, "h", "/"), "root")
    equal(queue(made, "h", "/b/c"), "root")
    equal(queue(made, "h", "/a/c"), "a")
end)

it("tries the exact host before any host", function()
    local made = routes.new({
        { host = "One.example", path = "/a", queue = "one" },
        { host = cjson.null, path = "/a/b", queue = "any" },
        { host = "*", path = "/c", queue = "star" },
    })
    equal(queue(made, "one.example", "/a/b"), "one")
    equal(queue(made, "two.example", "/a/b"), "any")
    equal(queue(made, "two.example", "/a"), nil)
    equal(queue(made, "one.example", "/c/d"), "star")
end)

it("keeps the first of equal routes, and leaves out what is none", function()
    local made = routes.new({ { path = "/a", queue = "1" }, { path = "/a/", queue = "2" }, { path = 5 }, "x" })
    equal(queue(made, "h", "/a"), "1")
    equal(made.left_out, 2)
    equal(#made.list, 2)
    equal(#routes.new(cjson.null).list, 0)
end)

it("takes as long for a thousand routes as for one", function()
    local many = {}
    for i = 1, 1000 do
        many[i] = { path = "/func/" .. i, queue = "q" .. i }
    end
    local made = routes.new(many)
    equal(queue(made, "h", "/func/777/x"), "q777")
    equal(queue(made, "h", "/func/1001"), nil)
end)

local SHARED = { path = "/a", queue = "q1", sha = "s1", name = "n", sticky = "X-User", split = {
    { queue = "q1", sha = "s1", percent = 60 }, { queue = "q2", sha = "s2", percent = 40 } } }

it("deals keys out by CRC-32 modulo 100 where versions share a route", function()
    local shared = routes.new({ SHARED }):match("h", "/a/x")
    equal(shared.queue, "q1")
    -- the same keys and queues as in tests/unit/tron/test_routes.py
    for key, expected in pairs({ ada = "q1", bob = "q1", eve = "q2", ["señor"] = "q2", ["se\241or"] = "q2", [""] = "q1",
        ["b4f986c2-65c8-49f8-9ad4-c8b1000005be"] = "q1", ["b4f986c2-65c8-49f8-9ad4-c8b1000005bf"] = "q2" }) do
        equal(routes.choose(shared, "?", { ["x-user"] = key }).queue, expected, key)
    end
    local chosen = routes.choose(shared, "?", { ["x-user"] = { "eve", "ada" } })
    equal({ chosen.queue, chosen.sha, chosen.path, chosen.name }, { "q2", "s2", "/a", "n" })
    contains(chosen.described, '"queue":"q2"')
    equal(routes.choose(shared, "eve", {}).queue, "q2", "without the header the request id counts")
    equal(routes.choose(shared, "ada", {}).queue, "q1")
    equal(cjson.decode(cjson.encode(routes.new({ SHARED }):describe()[1].split)), SHARED.split)
end)

it("knows which queues are too deep", function()
    local made = routes.new({ { path = "/a", queue = "q1", limited = { q1 = 7 } }, { path = "/b", queue = "q2" },
        { path = "/c", queue = "q3", limited = cjson.null }, { path = "/d", queue = "q4", limited = { q1 = 7 } } })
    equal(made:match("h", "/a").limited, true)
    for _, path in ipairs({ "/b", "/c", "/d" }) do
        equal(made:match("h", path).limited, nil, path)
    end
    local shared = routes.new({ { path = "/a", queue = "q1", limited = { q2 = 7 }, split = SHARED.split } })
    equal(routes.choose(shared:match("h", "/a"), "ada", {}).limited, nil)
    equal(routes.choose(shared:match("h", "/a"), "eve", {}).limited, true)
end)

it("takes a route that nobody shares, or whose split makes no sense, as it is", function()
    for _, split in ipairs({ cjson.null, "x", {}, { { queue = 5, percent = 1 } }, { 7 } }) do
        local made = routes.new({ { path = "/a", queue = "q", split = split } })
        equal(routes.choose(made:match("h", "/a"), "bob", {}), made.list[1])
        equal(made.list[1].split, nil)
    end
end)


-- problem

it("makes problem details", function()
    equal(cjson.decode(problem.body(503, 'no "broker"', "id-1")), { type = "about:blank", status = 503,
        title = "Service Unavailable", detail = 'no "broker"', ["request-id"] = "id-1" })
    equal(cjson.decode(problem.body(599)), { type = "about:blank", status = 599, title = "Error" })
end)


-- answers

local function parse(answer)
    return response.parse(cjson.encode({ action = "answer", answer = answer, sha = "abc" }))
end

it("takes an answer apart", function()
    equal(parse({ status = 201, headers = { { "A", "1" } }, body = "aGk=" }),
        { status = 201, headers = { { "A", "1" } }, body = "hi", sha = "abc" })
    equal(parse({ status = 200, body = "aGk=", ["body-base64-encoded"] = false }).body, "aGk=")
    equal(parse({ status = 200, body = cjson.null, headers = cjson.null }), { status = 200, headers = {}, body = "",
        sha = "abc" })
end)

it("takes headers as an object as well", function()
    equal(parse({ status = 200, headers = { A = "1" } }).headers, { { "A", "1" } })
end)

it("refuses statuses that are not final, and answers that are none", function()
    for _, status in ipairs({ 100, 101, 199, 600, 0, -1, 200.5, "200" }) do
        local made, err = parse({ status = status })
        equal(made, nil, tostring(status))
        contains(err, "status")
    end
    for _, bytes in ipairs({ "", "nonsense", "[]", "{}", '{"answer":5}', '{"answer":null}' }) do
        equal(response.parse(bytes), nil, bytes)
    end
    local _, err = parse({ status = 200, body = "not base64!" })
    contains(err, "base64")
    _, err = parse({ status = 200, headers = "x" })
    contains(err, "headers")
end)

return t.run()
