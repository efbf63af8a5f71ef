-- No text. The start of the window has 16 digits from 2001 to 2286.
local stored = redis.pcall('GET', KEYS[1])
local start = now - math.fmod(now, b)
local used, prefix = 0, nil
if stored then
  local began = not stored.err and tonumber(string.sub(stored, 1, 16))
  if began == start then
    used, prefix = tonumber(string.sub(stored, 18)), string.sub(stored, 1, 17)
  elseif not began or began > start then
    used = nil
  end
end
if used and start >= 1e15 and start < 5e15 then
  local left = start + b - now
  local level, wait = -1 - used, 0
  if used + cost <= a then
    used = used + cost
    level = used
    if not prefix then
      local micros = start % 1000000
      prefix = string.format('%d%06d:', (start - micros) / 1000000, micros)
    end
    local ends = start + b
    redis.call('SET', KEYS[1], prefix .. string.format('%.0f', used), 'PXAT', (ends - ends % 1000) / 1000 + 1)
  elseif cost > a then
    wait = -1
  else
    wait = left
  end
  local following, reset = used >= a and left or 0, used > 0 and left or 0
  return string.sub(argument, 1, 8) .. struct.pack('<ddddd', now, level, wait, following, reset)
end
