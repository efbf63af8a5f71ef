-- The generic cell rate algorithm: a string that holds the time when the debt is paid, in whole microseconds, and after a
-- colon, if there is anything, the mark of the policy and what is left over in ticks.
--
-- a, b     ticks per permit, ticks per microsecond
-- c        ticks per full burst; for a budget with a name, whose numbers may change, the mark of the policy
-- level    the debt in ticks; the times follow from it
--
-- A mark is digits that begin with 0: the burst in 11 digits, the lengths of a and b in 2 digits each, a, b. The ticks
-- that are left over never begin with 0. So a value without a mark is told from one with a mark, and whoever knows of no
-- marks reads one as less than a microsecond.
--
-- Each set of numbers has a debt of its own, which grows by what was used under these numbers and is paid at their rate.
-- What was used under others counts, in permits, beside it. So neither a larger nor a smaller quota forgets what was used,
-- and none of two that alternate pays the debt of the other. Of several debts, those of others come between the colon and
-- the mark: 09, how many there are in 1 digit, and for each the length of its mark and ticks in 2 digits, when it is paid
-- in 16 digits, mark and ticks. The burst has at most 10 digits, so no mark begins with 09.
--
-- NOTE: gcra.rs is the same in Rust, for a single set of numbers; policy.rs writes the marks.
local GCRA_OTHERS = 3

-- A debt with its numbers, from the time when it is paid, and mark and ticks.
local function gcra_entry(micros, rest)
  local burst, a_length = tonumber(string.sub(rest, 1, 11)), tonumber(string.sub(rest, 12, 13))
  local b_length = tonumber(string.sub(rest, 14, 15))
  if not (burst and a_length and b_length) then return nil end
  local b_at = 16 + a_length
  local a, b = tonumber(string.sub(rest, 16, b_at - 1)), tonumber(string.sub(rest, b_at, b_at + b_length - 1))
  if not (a and b and a > 0 and b > 0) then return nil end
  local ticks = math.min(tonumber(string.sub(rest, b_at + b_length)) or 0, b - 1)
  local debt = math.max(0, (tonumber(micros) - now) * b + ticks)
  return { mark = string.sub(rest, 1, b_at + b_length - 1), a = a, b = b, debt = math.min(debt, a * burst) }
end

-- Reads debts of several sets of numbers, or one of other numbers.
local function gcra_entries(micros, rest)
  local entries, at = {}, 1
  if string.sub(rest, 1, 2) == '09' then
    at = 4
    for _ = 1, tonumber(string.sub(rest, 3, 3)) or 0 do
      local length = tonumber(string.sub(rest, at, at + 1)) or 0
      local paid = string.sub(rest, at + 2, at + 17)
      if #paid == 16 then entries[#entries + 1] = gcra_entry(paid, string.sub(rest, at + 18, at + 17 + length)) end
      at = at + 18 + length
    end
  end
  entries[#entries + 1] = gcra_entry(micros, string.sub(rest, at))
  return entries
end

-- When a debt is paid, and its mark and ticks.
local function gcra_paid(entry)
  local ticks = math.fmod(entry.debt, entry.b)
  return now + (entry.debt - ticks) / entry.b, ticks == 0 and entry.mark or entry.mark .. text(ticks)
end

local function gcra_store(p)
  local paid, rest = gcra_paid(p)
  local last = paid
  if p.others then
    local words = { '09', #p.others }
    for _, other in ipairs(p.others) do
      local other_paid, other_rest = gcra_paid(other)
      words[#words + 1] = string.format('%02d%016.0f%s', #other_rest, other_paid, other_rest)
      last = math.max(last, other_paid)
    end
    if #p.others > 0 then rest = table.concat(words) .. rest end
  end
  local value = rest == '' and text(paid) or text(paid) .. ':' .. rest
  redis.call('SET', p.key, value, 'PXAT', until_ms(last))
end

-- What there is room for beside the debts of other numbers.
local function gcra_mixed(p, micros, rest)
  local others = {}
  for _, entry in ipairs(gcra_entries(micros, rest)) do
    if entry.mark == p.mark then
      p.debt = entry.debt
    elseif entry.debt > 0 then
      others[#others + 1] = entry
    end
  end
  -- Of too many the one goes that is paid first.
  table.sort(others, function(one, other) return one.debt / one.b > other.debt / other.b end)
  others[GCRA_OTHERS + 1] = nil
  for _, other in ipairs(others) do p.used = p.used + math.ceil(other.debt / other.a * p.a) end
  p.others = others
  return whole(math.max(0, p.c - p.debt - p.used), p.a)
end

kinds.gcra = {
  look = function(p)
    local micros, rest = string.match(read(p.key), '^(%d+):?(%d*)$')
    p.mark = ''
    if string.byte(p.c) == 48 then
      p.mark = p.c
      p.c = p.a * tonumber(string.sub(p.mark, 1, 11))
    else
      p.c = tonumber(p.c)
    end
    if micros and #micros <= 16 then
      if string.byte(rest) == 48 then
        if string.sub(rest, 1, #p.mark) ~= p.mark then return gcra_mixed(p, micros, rest) end
        rest = string.sub(rest, #p.mark + 1)
      end
      local ticks = math.min(tonumber(rest) or 0, p.b - 1)
      p.debt = math.max(0, (tonumber(micros) - now) * p.b + ticks)
      if p.debt > p.c then
        -- The numbers are the same, so a time further ahead than a full burst comes from a clock that was set back.
        p.debt = p.c
        gcra_store(p)
      end
    end
    return whole(p.c - p.debt, p.a)
  end,
  take = function(p, n)
    p.debt = p.debt + n * p.a
    gcra_store(p)
  end,
  give = function(p, n, any)
    local ticks = n * p.a
    local own = math.min(ticks, p.debt)
    p.debt, ticks = p.debt - own, ticks - own
    -- What was used under other numbers is not given back for what was used under these.
    for _, other in ipairs(any and p.others or {}) do
      local some = math.min(other.debt, math.floor(ticks / p.a * other.a))
      other.debt, ticks = other.debt - some, math.max(0, ticks - some / other.a * p.a)
    end
    gcra_store(p)
  end,
  state = function(p)
    return math.min(p.c, p.debt + p.used), 0, 0, 0
  end,
}
