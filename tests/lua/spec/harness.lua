--- A small test library: a spec file calls `it` for each test and returns `run()`.

local cjson = require "cjson"

local _M = {}

local tests = {}


--- Begin a spec file.
function _M.begin()
    tests = {}
end


--- Add a test; its name is a sentence.
function _M.it(name, body)
    tests[#tests + 1] = { name = name, body = body }
end


local function show(value)
    if type(value) == "table" then
        local ok, json = pcall(cjson.encode, value)
        return ok and json or tostring(value)
    end
    return type(value) == "string" and ("%q"):format(value) or tostring(value)
end


local function same(a, b)
    if type(a) ~= "table" or type(b) ~= "table" then
        return a == b
    end
    for key, value in pairs(a) do
        if not same(value, b[key]) then
            return false
        end
    end
    for key in pairs(b) do
        if a[key] == nil then
            return false
        end
    end
    return true
end


--- Fail unless both are equal; tables by content.
function _M.equal(got, expected, what)
    if not same(got, expected) then
        error((what and what .. ": " or "") .. "got " .. show(got) .. ", expected " .. show(expected), 2)
    end
end


--- Fail unless `value` is true in Lua's sense.
function _M.ok(value, what)
    if not value then
        error(what or "expected a true value", 2)
    end
end


--- Fail unless `text` contains `part`.
function _M.contains(text, part)
    if type(text) ~= "string" or not text:find(part, 1, true) then
        error("expected " .. show(text) .. " to contain " .. show(part), 2)
    end
end


--- Run the tests: a JSON array of {name, error}.
function _M.run()
    local results = {}
    for i, test in ipairs(tests) do
        local ok, err = xpcall(test.body, debug.traceback)
        results[i] = { name = test.name, error = not ok and tostring(err) or nil }
    end
    return cjson.encode(results)
end

return _M
