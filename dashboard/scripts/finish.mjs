// After a build: puts compressed files beside the plain ones, says what the first pages load, and fails when that grew.
import { readdirSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { brotliCompressSync, constants, gzipSync } from 'node:zlib'

const KIB = 1024
/** Each page of its own, with the script in KiB (gzip) that its first load may take. */
const PAGES = [
  { title: 'dashboard', folder: 'dist', bound: 350 },
  { title: 'desktop', folder: 'dist/desktop', bound: 100 },
]
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

function firstLoad(folder) {
  const manifest = JSON.parse(readFileSync(join(folder, '.vite/manifest.json'), 'utf8'))
  const entry = Object.values(manifest).find((chunk) => chunk.isEntry)
  const seen = new Set()
  const visit = (chunk) => {
    if (seen.has(chunk.file)) return
    seen.add(chunk.file)
    for (const name of chunk.imports ?? []) visit(manifest[name])
  }
  visit(entry)
  const weight = (file) => gzipSync(readFileSync(join(folder, file)), { level: 9 }).length
  const sum = (files) => files.reduce((all, file) => all + weight(file), 0) / KIB
  return { script: sum([...seen]), style: sum(entry.css ?? []) }
}

for (const { title, folder, bound } of PAGES) {
  const { script, style } = firstLoad(folder)
  console.log(
    `${title}, first load: ${script.toFixed(0)} KiB of script, ${style.toFixed(0)} KiB of style (gzip)`,
  )
  if (script > bound) {
    console.error(`the script of the first load is heavier than ${bound} KiB`)
    process.exitCode = 1
  }
}
