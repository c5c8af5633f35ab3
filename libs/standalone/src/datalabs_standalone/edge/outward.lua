-- What comes out of a lab: no cookie may reach beyond the lab's own origin or pose as the platform's.
function envoy_on_response(handle)
  local headers = handle:headers()
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
