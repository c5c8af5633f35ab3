import { Button } from '@mantine/core'

export function Undo({ undo }: { undo: () => void }) {
  return (
    <span style={{ display: 'flex', alignItems: 'center', gap: '0.75rem' }}>
      Files in your home stay.
      <Button size="compact-sm" variant="default" onClick={undo}>
        Undo
      </Button>
    </span>
  )
}
