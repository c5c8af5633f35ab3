-- The platform's own cookies, by prefix: none of them ever passes between a browser and a lab.
local OURS = { "__host-lab", "__host-datalabs" }

local function is_ours(cookie)
  local lower = string.lower(cookie)
  for _, prefix in ipairs(OURS) do
    if string.sub(lower, 1, #prefix) == prefix then
      return true
    end
  end
  return false
end
