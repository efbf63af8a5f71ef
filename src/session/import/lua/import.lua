-- Decides which request takes over an old session, and keeps what became of it.
-- KEYS[1]  the note of the old session: the request that has the turn, for a short time; or '' once the session is
--          over, for as long as that matters
-- KEYS[2]  what other requests need of the new session, for a short time: fields id, lineage, user, tag
-- ARGV     third: what to do
--            claim turn ms                       take the turn
--            settle turn ms ms id lineage user tag   the new session is there
--            yield turn                          there is none
--            end ms                              it can no longer be taken over
-- Replies  claimed, settled, or yielded; moving: another has the turn; or over, then what others need, each '' if unknown
local op, turn = ARGV[3], ARGV[4]
local held = redis.call('GET', KEYS[1])
local function over()
  local new = redis.call('HMGET', KEYS[2], 'id', 'lineage', 'user', 'tag')
  return reply('over', new[1] or '', new[2] or '', new[3] or '', new[4] or '')
end
if op == 'end' then
  local new = redis.call('HMGET', KEYS[2], 'id', 'lineage', 'user', 'tag')
  redis.call('DEL', KEYS[2])
  redis.call('SET', KEYS[1], '', 'PX', ARGV[4])
  return reply('over', new[1] or '', new[2] or '', new[3] or '', new[4] or '')
elseif held == '' or held == '1' then
  -- '1' is what earlier versions note.
  return over()
elseif op == 'claim' then
  if held and held ~= turn then
    return reply('moving')
  end
  redis.call('SET', KEYS[1], turn, 'PX', ARGV[5])
  return reply('claimed')
elseif held ~= turn then
  return reply('moving')
elseif op == 'yield' then
  redis.call('DEL', KEYS[1])
  return reply('yielded')
end
redis.call('SET', KEYS[1], '', 'PX', ARGV[5])
redis.call('HSET', KEYS[2], 'id', ARGV[7], 'lineage', ARGV[8], 'user', ARGV[9], 'tag', ARGV[10])
redis.call('PEXPIRE', KEYS[2], ARGV[6])
return reply('settled')
