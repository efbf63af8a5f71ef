-- Decides on a request under all of its policies: it uses permits of all of them or of none.
--
-- KEYS     one for each policy
-- ARGV     from the third: the least permits to grant, the most, `take` or `look`; then five for each policy: its
--          algorithm, `enforced` or `shadow`, and the algorithm's a, b, c
-- Replies  1 if admitted or 0, the permits granted, the time; then five for each policy: 1 if the least fit, or 0, and
--          what `state` says
--
-- A shadow policy never denies. It uses permits when the enforced policies admit the request and they fit under it too.
local least, most = tonumber(ARGV[3]), tonumber(ARGV[4])
local policies, granted = {}, most
for i = 1, #KEYS do
  local p, kind, enforced = policy(i)
  p.room, policies[i] = kind.look(p), p
  if enforced == 'enforced' then granted = math.min(granted, p.room) end
end

local admitted = granted >= least
local result = { admitted and 1 or 0, admitted and granted or 0, now }
for _, p in ipairs(policies) do
  local fits = p.room >= least
  if admitted and granted > 0 and p.room >= granted and ARGV[5] == 'take' then p.kind.take(p, granted) end
  local at = #result
  result[at + 1] = fits and 1 or 0
  result[at + 2], result[at + 3], result[at + 4], result[at + 5] = p.kind.state(p, fits and 0 or least)
end
return reply(unpack(result))
