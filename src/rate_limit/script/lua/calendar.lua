-- The fixed window on the calendar: a string `start:used` with the start of the window. Windows are counted from the
-- beginning of 1970, so those of a day begin at midnight UTC.
--
-- a, b     permits in a window, microseconds of a window
-- level    permits used
local function calendar_store(p)
  local value = text(p.start) .. ':' .. text(p.used)
  redis.call('SET', p.key, value, 'PXAT', until_ms(p.start + p.b))
end

kinds.calendar = {
  look = function(p)
    p.start, p.used = now - math.fmod(now, p.b), 0
    local start, used = string.match(read(p.key), '^(%d+):(%d+)$')
    if start and #start <= 16 and #used <= 10 and tonumber(start) >= p.start then
      p.used = tonumber(used)
      -- A window that is not there yet comes from a clock that was set back: it counts as this one. A shorter one of
      -- another quota, which began within this one, counts too, and stays as it is.
      if tonumber(start) > now then calendar_store(p) end
    end
    return math.max(0, p.a - p.used)
  end,
  take = function(p, n)
    p.used = p.used + n
    calendar_store(p)
  end,
  give = function(p, n)
    p.used = math.max(0, p.used - n)
    calendar_store(p)
  end,
  state = function(p, n)
    local left = p.start + p.b - now
    local wait = 0
    if n > p.a then
      wait = -1
    elseif p.used + n > p.a then
      wait = left
    end
    return p.used, wait, p.used >= p.a and left or 0, p.used > 0 and left or 0
  end,
}
