-- Adds a session to the index of its user, before the user is written to the session.
-- KEYS[1]  the user's index: session ids by their end in ms; the negative of when all were revoked under '!', for
--          logins, and under '!!', for uses; the same under '!' and an id for the one that was kept
-- ARGV     from the third: ms since the credentials began to be checked; id; ms that the session may live; ms that ARGV[2]
--          is ahead of when this was sent; most sessions, or 0; what to do with more (ask, refuse, evict); when this
--          login's own request revoked all, 0, or -1 to be refused by any revocation; ms for which the place is kept
--          until the login is confirmed by relist.lua, or 0 to keep it without that; then ids of sessions that have ended
-- Replies  revoked (all were, since the check began); full, then the ids listed and confirmed; or done, when that was, then
--          the ids to evict, which stay listed until they are gone
local age, id, life, patience, most, policy = ARGV[3], ARGV[4], ARGV[5], ARGV[6], tonumber(ARGV[7]), ARGV[8]
local own, provisional = tonumber(ARGV[9]), tonumber(ARGV[10])
local revoked = redis.call('ZSCORE', KEYS[1], '!')
if revoked then
  revoked = -revoked
  if revoked > now_ms then
    -- The clock was set back, or the key is from another server: correct it, so that logins are not refused until then.
    revoked = now_ms
    local mark = string.format('%.0f', -revoked)
    redis.call('ZADD', KEYS[1], 'XX', 'GT', mark, '!', mark, '!!')
  end
  -- This server's time when the check began; if in doubt too early.
  local began = math.min(now_ms, (limit_ms > 0 and limit_ms or now_ms) - patience) - age - 2
  if own < 0 or (revoked >= began and revoked ~= own) then
    return reply('revoked')
  end
end
for i = 11, #ARGV do
  redis.call('ZREM', KEYS[1], ARGV[i])
end
redis.call('ZREMRANGEBYSCORE', KEYS[1], 0, string.format('%.0f', now_ms))

local evicted = {}
if most > 0 then
  local listed = redis.call('ZRANGEBYSCORE', KEYS[1], 0, '+inf', 'WITHSCORES')
  local others, confirmed = {}, {}
  for i = 1, #listed, 2 do
    if listed[i] ~= id then
      others[#others + 1] = listed[i]
      if tonumber(listed[i + 1]) > now_ms + provisional then
        confirmed[#confirmed + 1] = listed[i]
      end
    end
  end
  if #others >= most then
    if policy ~= 'evict' then
      return reply('full', unpack(confirmed, 1, math.min(#confirmed, 1000)))
    end
    for i = 1, math.min(#others - most + 1, 1000) do
      evicted[i] = others[i]
    end
  end
end
if provisional > 0 then
  redis.call('ZADD', KEYS[1], 'GT', string.format('%.0f', now_ms + math.min(life, provisional)), id)
else
  redis.call('ZADD', KEYS[1], string.format('%.0f', now_ms + life), id)
end
if redis.call('PTTL', KEYS[1]) < tonumber(life) then
  redis.call('PEXPIRE', KEYS[1], life)
end
-- Later than any revocation until now, so that only a later revocation counts for this login.
local listed_at = math.max(now_ms, (revoked or 0) + 1)
return reply('done', string.format('%.0f', listed_at), unpack(evicted))
