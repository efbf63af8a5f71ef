-- Permits for many requests, each under one GCRA policy: gives each the answer that `one/gcra.lua` would give it.
--
-- KEYS     the budgets
-- ARGV[1]  the proof, in 8 bytes; the last microsecond at which the script may run, as a double; then groups. A group is of
--          one budget and one set of numbers: the number of its key and of its requests, in 2 bytes each; the algorithm's
--          a, b, c as doubles; the length of its text in 2 bytes, and the text; for each request the permits, as a double
-- Replies  the proof and the time in microseconds as a double, and nothing else if the script ran too late; then a double
--          for each request: the level if the permits were taken, else -1 less the level; infinity if the request is left
--          to the script for one. For those nothing was written
--
-- No error of a budget ends the script: others would not know that their permits were taken.
-- NOTE: one/gcra.lua reads and writes the same values.
local argument = ARGV[1]
-- Names for this one run: each look-up among the global ones costs time.
local read, sub, call = struct.unpack, string.sub, redis.pcall
local time = redis.call('TIME')
local now = time[1] * 1000000 + time[2]
local latest, at = read('<d', argument, 9)
if now > latest then return sub(argument, 1, 8) .. struct.pack('<d', now) end
local sane = now >= 1e15 and now < 5e15
local levels = {}
local count = 0
local length = #argument
while at <= length do
  local number, requests, a, b, c, tag, cost
  number, requests, a, b, c, tag, cost, at = read('<HHdddHc0d', argument, at)
  local key = KEYS[number]
  local stored = call('GET', key)
  local debt = 0
  if stored then
    debt = nil
    if stored.err then
    elseif b == 1 then
      if sub(stored, 17) == tag then debt = tonumber(sub(stored, 1, 16)) end
    elseif sub(stored, 17, 16 + #tag) == tag then
      debt = tonumber(sub(stored, 1, 16))
    end
    if debt then
      debt = (debt - now) * b
      if b > 1 then debt = debt + (tonumber(sub(stored, 17 + #tag)) or 0) end
      if debt < 0 then debt = 0 end
    end
  end
  local known = sane and debt and debt <= c
  local before = debt
  local first = count + 1
  for request = 1, requests do
    if request > 1 then cost, at = read('<d', argument, at) end
    count = count + 1
    if known then
      local owed = debt + cost * a
      if owed > c then
        levels[count] = -1 - debt
      else
        debt = owed
        levels[count] = owed
      end
    end
  end
  if known and debt > before then
    local ticks = b > 1 and math.fmod(debt, b) or 0
    local paid = now + (debt - ticks) / b
    local micros = paid % 1000000
    local text = string.format('%d%06d', (paid - micros) / 1000000, micros)
    -- A key is there until the end of its millisecond.
    local expiry = sub(text, 1, 13)
    text = text .. tag
    if ticks > 0 then text = text .. string.format('%.0f', ticks) end
    known = not call('SET', key, text, 'PXAT', expiry).err
  end
  if not known then
    for request = first, count do levels[request] = math.huge end
  end
end
return sub(argument, 1, 8) .. struct.pack('<d' .. string.rep('d', count), now, unpack(levels))
