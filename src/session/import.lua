-- Notes that a session of another crate was taken over.
-- KEYS[1]  the note
-- ARGV     third: for how many ms
-- Replies  first, or taken: it was taken over before
if redis.call('EXISTS', KEYS[1]) == 1 then
  return reply('taken')
end
redis.call('SET', KEYS[1], '1', 'PX', ARGV[3])
return reply('first')
