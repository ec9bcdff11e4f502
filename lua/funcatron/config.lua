--- The Frontend's settings: read once from the environment into a table that refuses unknown keys.
-- Called in `init_by_lua`, where files that only root may read can still be read.

local error = error
local getenv = os.getenv
local ipairs = ipairs
local match = string.match
local open = io.open
local setmetatable = setmetatable
local tonumber = tonumber

local _M = {}


local function text(value)
    return value
end

local function number(low, high)
    return function(value)
        local n = tonumber(value)
        if not n or n < low or n > high then
            return nil, "must be a number from " .. low .. " to " .. high
        end
        return n
    end
end

local function choice(words)
    return function(value)
        local known = words[value]
        if known == nil then
            return nil, "is not one of the words it may be"
        end
        return known
    end
end

local SWITCH = choice({ on = true, off = false, ["true"] = true, ["false"] = false, ["1"] = true, ["0"] = false,
    yes = true, no = false })

-- environment variable, key, reader, default
local SETTINGS = {
    { "RABBIT_HOST", "host", text, "127.0.0.1" },
    { "RABBIT_PORT", "port", number(1, 65535), 61613 },
    { "RABBIT_USER", "user", text, "guest" },
    { "RABBIT_PWD", "password", text, nil }, -- RABBIT_PWD_FILE comes first; without both it is guest
    { "RABBIT_VHOST", "vhost", text, "/" },
    { "RABBIT_TLS", "tls", SWITCH, false },
    { "RABBIT_TLS_VERIFY", "tls_verify", SWITCH, true },
    { "RABBIT_TLS_NAME", "tls_name", text, nil }, -- name in the broker's certificate, if not RABBIT_HOST
    { "TRON_QUEUE", "tron_queue", text, "for_tron" },
    { "INSTANCEID", "instance", text, nil },
    { "FUNCATRON_ROUTING", "routing", choice({ firehose = "firehose", direct = "direct" }), "firehose" },
    { "FUNCATRON_REQUEST_TIMEOUT", "request_timeout", number(0.001, 86400), 60 }, -- s
    { "FUNCATRON_MAX_BODY", "max_body", number(0, 2 ^ 40), 10 * 1024 * 1024 }, -- bytes; nginx enforces it
    { "FUNCATRON_BODIES", "bodies", text, nil }, -- folder shared with Runners; see body.lua
    { "FUNCATRON_INLINE_BODY", "inline_body", number(1024, 2 ^ 31 - 1), 128 * 1024 }, -- bytes
    { "FUNCATRON_MAX_MESSAGE", "max_message", number(1024, 2 ^ 31 - 1), 128 * 1024 * 1024 }, -- the broker's limit
    { "FUNCATRON_MAX_WAITING", "max_waiting", number(1, 2 ^ 31 - 1), 10000 },
    { "FUNCATRON_HEARTBEAT", "heartbeat", number(0.05, 3600), 10 }, -- s, to the Tron
    { "FUNCATRON_STOMP_HEARTBEAT", "stomp_heartbeat", number(0, 3600), 10 }, -- s, with the broker; 0 for none
    { "FUNCATRON_STALL", "stall", number(0.1, 3600), 5 }, -- s without an echo until the link counts as stalled
}

local KEYS = {}
for _, setting in ipairs(SETTINGS) do
    KEYS[setting[2]] = true
end

-- A known key that is not set is nil; an unknown one is a mistake of the caller.
local strict = {
    __index = function(_, key)
        if not KEYS[key] then
            error("unknown setting " .. key, 2)
        end
    end,
}


local function freeze(settings)
    return setmetatable({}, {
        __index = setmetatable(settings, strict),
        __newindex = function(_, key)
            error("settings are frozen: " .. key, 2)
        end,
    })
end


local function read_secret(path)
    local file, err = open(path, "rb")
    if not file then
        return nil, err
    end
    local secret = file:read("*a")
    file:close()
    return (match(secret, "^(.-)[\r\n]*$"))
end


--- Names of the environment variables, for `env` lines and documentation.
function _M.variables()
    local names = { "RABBIT_PWD_FILE" }
    for _, setting in ipairs(SETTINGS) do
        names[#names + 1] = setting[1]
    end
    return names
end


--- The settings, or nil and a sentence that names the variable. `env`: a function name → value, os.getenv if absent.
function _M.load(env)
    env = env or getenv
    local settings = {}
    for _, setting in ipairs(SETTINGS) do
        local name, key, read, default = setting[1], setting[2], setting[3], setting[4]
        local value = env(name)
        if value ~= nil and value ~= "" then
            local got, err = read(value)
            if got == nil then
                return nil, name .. " " .. err .. ", not " .. (key == "password" and "what it is" or value)
            end
            settings[key] = got
        else
            settings[key] = default
        end
    end
    local file = env("RABBIT_PWD_FILE")
    if file and file ~= "" then
        local secret, err = read_secret(file)
        if not secret then
            return nil, "RABBIT_PWD_FILE cannot be read: " .. err
        end
        settings.password = secret
    end
    settings.password = settings.password or "guest"
    return freeze(settings)
end

return _M
