--- The folder that Frontends and Runners share for large bodies: `requests/`, where nginx spools, and `answers/`.
-- Its file `id` tells whether two of them mean the same folder. Read in `init_by_lua`.

local open = io.open
local remove = os.remove

local _M = {}

local PIECE = 64 * 1024


--- The folder's {path, id, answers}, or nil and an error. `path` is absolute and ends with a slash.
function _M.folder(path)
    if path:sub(-1) ~= "/" then
        path = path .. "/"
    end
    local file, err = open(path .. "id", "rb")
    if not file then
        return nil, err
    end
    local id = file:read("*l")
    file:close()
    if not id or not id:find("^[%w-]+$") then
        return nil, path .. "id holds no id"
    end
    return { path = path, id = id, answers = path .. "answers/" }
end


--- Open the file of an answer, and remove its name: what it holds is read by this request alone.
-- Returns the file and its size, or nil and an error.
function _M.take(folder, name)
    if not name:find("^[%w-]+$") then
        return nil, "a file cannot be called that"
    end
    local path = folder.answers .. name
    local file, err = open(path, "rb")
    if not file then
        return nil, err
    end
    remove(path)
    local size = file:seek("end")
    file:seek("set")
    file:setvbuf("no")
    return file, size
end


--- Read a file that `take` has opened, piece by piece: `for data in bodies.pieces(file) do`.
function _M.pieces(file)
    return function()
        return file:read(PIECE)
    end
end

return _M
