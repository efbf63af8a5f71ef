-- Stands at the end: what the first part left over is decided by the functions of the algorithm.
local _, kind = next(kinds)
local text = string.sub(argument, 49)
if kinds.gcra then text = #text > 1 and string.sub(text, 2) or string.format('%.0f', c) end
local p = { key = KEYS[1], room = 0, used = 0, mark = false, a = a, b = b, c = text }
p.room = kind.look(p)
local fits = p.room >= cost
if fits then kind.take(p, cost) end
local level, wait, following, reset = kind.state(p, fits and 0 or cost)
if not fits then level = -1 - level end
return string.sub(argument, 1, 8) .. struct.pack('<ddddd', now, level, wait, following, reset)
