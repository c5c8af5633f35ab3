// After a build: puts compressed files beside the plain ones, says what the first page loads, and fails when that grew.
import { readdirSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { brotliCompressSync, constants, gzipSync } from 'node:zlib'

const BOUND = 350 * 1024
const SMALLEST = 1024
const TEXTS = /\.(js|css|svg|html)$/

for (const file of readdirSync('dist', { recursive: true })) {
  const path = join('dist', String(file))
  if (!TEXTS.test(path)) continue
  const body = readFileSync(path)
  if (body.length < SMALLEST) continue
  writeFileSync(`${path}.br`, brotliCompressSync(body, { params: { [constants.BROTLI_PARAM_QUALITY]: 10 } }))
  writeFileSync(`${path}.gz`, gzipSync(body, { level: 9 }))
}

const manifest = JSON.parse(readFileSync('dist/.vite/manifest.json', 'utf8'))
const entry = Object.values(manifest).find((chunk) => chunk.isEntry)
const seen = new Set()
const visit = (chunk) => {
  if (seen.has(chunk.file)) return
  seen.add(chunk.file)
  for (const name of chunk.imports ?? []) visit(manifest[name])
}
visit(entry)
const weight = (file) => gzipSync(readFileSync(`dist/${file}`), { level: 9 }).length
const script = [...seen].reduce((sum, file) => sum + weight(file), 0)
const style = (entry.css ?? []).reduce((sum, file) => sum + weight(file), 0)
console.log(
  `first load: ${(script / 1024).toFixed(0)} KiB of script, ${(style / 1024).toFixed(0)} KiB of style (gzip)`,
)
if (script > BOUND) {
  console.error(`the script of the first load is heavier than ${BOUND / 1024} KiB`)
  process.exit(1)
}
