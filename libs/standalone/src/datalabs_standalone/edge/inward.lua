-- What goes in to a lab: its secret, and no cookie of the platform's.
local KEY = (string.gsub("@EDGE_KEY_HEX@", "..", function(pair)
  return string.char(tonumber(pair, 16))
end))
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
