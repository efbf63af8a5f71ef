-- The generic cell rate algorithm: a string with the time when the debt is paid, in whole microseconds; then, if there is
-- any, a colon, the mark of the policy and the ticks left over.
--
-- a, b     ticks per permit, ticks per microsecond
-- c        ticks per full burst; for a budget on which other numbers may be used, the mark of the policy
-- level    the debt in ticks, which is `used` here; the times follow from it
--
-- A mark is digits that begin with 0: the length of the burst less one in 1 digit, the lengths of a and b in 2 digits each,
-- the burst, a, b. The ticks left over never begin with 0, so a value with a mark differs from one without. A version of
-- this script that does not know marks reads a mark as less than a microsecond.
--
-- A debt under other numbers is converted: the same number of permits is owed under these numbers. The stored value keeps
-- its own numbers until permits are used under these, or until it is read and the debt is paid sooner under these.
--
-- NOTE: quota/gcra.rs does the same in Rust, for a single set of numbers; quota/policies.rs writes the marks.
local function gcra_store(key, debt, b, mark)
  local ticks = math.fmod(debt, b)
  local paid = now + (debt - ticks) / b
  local value = text(paid)
  if mark or ticks > 0 then value = value .. ':' .. (mark or '') .. (ticks > 0 and text(ticks) or '') end
  redis.call('SET', key, value, 'PXAT', until_ms(paid))
end

-- Converts a stored debt that has other numbers than the policy. Returns whether the value was such a debt.
local function gcra_convert(p, micros, rest)
  local burst, a, b = string.match(rest, '^0(%d)(%d%d)(%d%d)')
  if not burst then return false end
  local a_at = 8 + burst
  local b_at = a_at + a
  local ticks_at = b_at + b
  local other = { mark = string.sub(rest, 1, ticks_at - 1), a = tonumber(string.sub(rest, a_at, b_at - 1)),
    b = tonumber(string.sub(rest, b_at, ticks_at - 1)) }
  burst = tonumber(string.sub(rest, 7, a_at - 1))
  if not (burst and other.a and other.b) or other.a * other.b == 0 then return false end
  local ticks = math.min(tonumber(string.sub(rest, ticks_at)) or 0, other.b - 1)
  other.used = math.max(0, (micros - now) * other.b + ticks)
  -- A time further ahead than a full burst comes from a clock that was set back.
  local ahead = other.used > other.a * burst
  if ahead then other.used = other.a * burst end

  local part = math.fmod(other.used, other.a)
  p.used = (other.used - part) / other.a * p.a + math.ceil(part / other.a * p.a)
  if other.used / other.b > p.used / p.b then
    p.used = math.min(p.used, p.c)
    gcra_store(p.key, p.used, p.b, p.mark)
  else
    p.other = other
    if ahead then gcra_store(p.key, other.used, other.b, other.mark) end
  end
  return true
end

kinds.gcra = {
  look = function(p)
    local micros, rest = string.match(read(p.key), '^(%d+):?(%d*)$')
    if string.byte(p.c) == 48 then
      p.mark = p.c
      p.c = p.a * tonumber(string.sub(p.mark, 7, 7 + string.sub(p.mark, 2, 2)))
    else
      p.c = tonumber(p.c)
    end
    if micros and #micros <= 16 then
      if p.mark and string.byte(rest) == 48 then
        local length = #p.mark
        if string.sub(rest, 1, length) == p.mark then
          rest = string.sub(rest, length + 1)
        else
          if gcra_convert(p, micros, rest) then return math.max(0, whole(p.c - p.used, p.a)) end
          rest = ''
        end
      end
      local ticks = math.min(tonumber(rest) or 0, p.b - 1)
      p.used = math.max(0, (tonumber(micros) - now) * p.b + ticks)
      if p.used > p.c then
        -- A time further ahead than a full burst comes from a clock that was set back, as the numbers are the same.
        p.used = p.c
        gcra_store(p.key, p.used, p.b, p.mark)
      end
    end
    return whole(p.c - p.used, p.a)
  end,
  take = function(p, n)
    p.used = p.used + n * p.a
    gcra_store(p.key, p.used, p.b, p.mark)
  end,
  give = function(p, n)
    -- Under the numbers of the stored debt: under these numbers a debt above the full burst would be cut off.
    local owner = p.other or p
    owner.used = math.max(0, owner.used - n * owner.a)
    gcra_store(p.key, owner.used, owner.b, owner.mark)
  end,
  state = function(p, n)
    local other = p.other
    if not other then return p.used, 0, 0, 0 end
    local least = math.max(n, 1)
    local left = p.c / p.a - least
    -- If permits were just used, the debt is under these numbers; or the permits fit.
    if left < 0 or p.room >= least then return math.min(p.used, p.c), 0, 0, 0 end
    -- The debt under these numbers with which n permits fit after the same time, but never one that leaves more room.
    local wait = math.ceil((other.used - left * other.a) / other.b)
    return math.max(p.c - (p.room + 1) * p.a + 1, p.c - least * p.a + wait * p.b), 0, 0, 0
  end,
}
