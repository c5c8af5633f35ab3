-- What passes between a browser and a lab: the lab's secret goes in, the platform's cookies stay out; on the way back no
-- cookie of the lab may reach beyond its own origin or pose as the platform's.
local KEY = (string.gsub("@EDGE_KEY_HEX@", "..", function(pair)
  return string.char(tonumber(pair, 16))
end))
local OURS = { "__host-lab", "__host-datalabs" }
local secrets, secret_count = {}, 0

local function secret_of(lab, attempt)
  local name = lab .. ":" .. attempt
  local known = secrets[name]
  if known == nil then
    if secret_count >= 4096 then
      secrets, secret_count = {}, 0
    end
    known = hmac_sha256(KEY, name)
    secrets[name] = known
    secret_count = secret_count + 1
  end
  return known
end

local function is_ours(cookie)
  local lower = string.lower(cookie)
  for _, prefix in ipairs(OURS) do
    if string.sub(lower, 1, #prefix) == prefix then
      return true
    end
  end
  return false
end

local function shed(headers)
  local cookies = headers:get("cookie")
  if cookies == nil then
    return
  end
  local kept, dropped = {}, false
  for part in string.gmatch(cookies, "[^;]+") do
    local cookie = (string.gsub(part, "^%s+", ""))
    if is_ours(cookie) then
      dropped = true
    elseif cookie ~= "" then
      kept[#kept + 1] = cookie
    end
  end
  if not dropped then
    return
  end
  if #kept == 0 then
    headers:remove("cookie")
  else
    headers:replace("cookie", table.concat(kept, "; "))
  end
end

local function keep_at_home(headers)
  local cleaned, changed = {}, false
  for name, value in pairs(headers) do
    if name == "set-cookie" then
      if is_ours((string.gsub(value, "^%s+", ""))) then
        changed = true
      else
        local attributes = {}
        for attribute in string.gmatch(value, "[^;]+") do
          if string.match(string.lower(attribute), "^%s*domain%s*=") then
            changed = true
          else
            attributes[#attributes + 1] = attribute
          end
        end
        cleaned[#cleaned + 1] = table.concat(attributes, ";")
      end
    end
  end
  if changed then
    headers:remove("set-cookie")
    for _, value in ipairs(cleaned) do
      headers:add("set-cookie", value)
    end
  end
end
