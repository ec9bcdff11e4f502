--- Names of the hosts file: nginx's resolver asks name servers only, so a name that stands in that file alone
-- (`localhost`, a container's link, an alias) would not be found. The file is small and read once per connection.

local find = string.find
local gmatch = string.gmatch
local gsub = string.gsub
local lower = string.lower
local open = io.open

local _M = {}


--- The IPv4 address of `name` in `path` (/etc/hosts if absent); `name` itself where it does not stand there.
function _M.resolve(name, path)
    local file = open(path or "/etc/hosts", "r")
    if not file then
        return name
    end
    local wanted = lower(name)
    for line in file:lines() do
        local address
        for word in gmatch(gsub(line, "#.*", ""), "%S+") do
            if not address then
                address = word
            elseif lower(word) == wanted and find(address, "^%d+%.%d+%.%d+%.%d+$") then
                file:close()
                return address
            end
        end
    end
    file:close()
    return name
end

return _M
