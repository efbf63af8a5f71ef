-- Replaces a lease, by itself or by what its owner leaves, for a time. Gives 1, or 0 when it is not there any more.
-- KEYS[1] where it is; ARGV[3] how it begins; ARGV[4] what to put there, ARGV[5] how long that lives, in milliseconds
if redis.call('GETRANGE', KEYS[1], 0, #ARGV[3] - 1) ~= ARGV[3] then
  return reply(0)
end
redis.call('SET', KEYS[1], ARGV[4], 'PX', ARGV[5])
return reply(1)
