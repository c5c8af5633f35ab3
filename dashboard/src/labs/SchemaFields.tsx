import { Checkbox, NativeSelect, NumberInput, Switch, Textarea, TextInput } from '@mantine/core'
import type { Entered, Field } from './schema'
import { problemOf, shownValue } from './schema'

interface Props {
  fields: readonly Field[]
  entered: Entered
  change: (entered: Entered) => void
  /** Refusals of the platform, by field. */
  refused: Record<string, string>
}

/** One input for each parameter of a datalab. */
export function SchemaFields({ fields, entered, change, refused }: Props) {
  return fields.map((field) => {
    const value = shownValue(field, entered)
    const set = (next: unknown): void => change({ ...entered, [field.name]: next })
    const touched = field.name in entered
    const common = {
      key: field.name,
      label: field.title,
      description: field.description || undefined,
      withAsterisk: field.required,
      error: (touched && problemOf(field, entered)) || refused[field.name] || undefined,
    }
    switch (field.kind) {
      case 'integer':
      case 'number':
        return (
          <NumberInput
            {...common}
            key={field.name}
            value={typeof value === 'number' || typeof value === 'string' ? value : ''}
            allowDecimal={field.kind === 'number'}
            min={field.minimum}
            max={field.maximum}
            clampBehavior="none"
            onChange={set}
          />
        )
      case 'boolean':
        return (
          <Switch
            key={field.name}
            label={field.title}
            description={common.description}
            error={common.error}
            checked={value === true}
            onChange={(event) => set(event.currentTarget.checked)}
          />
        )
      case 'choice':
        return (
          <NativeSelect
            {...common}
            key={field.name}
            value={field.choices.findIndex((choice) => choice.value === value)}
            onChange={(event) => set(field.choices[Number(event.currentTarget.value)]?.value ?? '')}
            data={[
              ...(field.choices.some((choice) => choice.value === value) ? [] : [{ value: '-1', label: '' }]),
              ...field.choices.map((choice, index) => ({ value: String(index), label: choice.title })),
            ]}
          />
        )
      case 'several': {
        const chosen = Array.isArray(value) ? value : []
        return (
          <Checkbox.Group
            key={field.name}
            label={field.title}
            description={common.description}
            error={common.error}
          >
            {field.choices.map((choice) => (
              <Checkbox
                key={String(choice.value)}
                mt="xs"
                label={choice.title}
                checked={chosen.includes(choice.value)}
                onChange={(event) =>
                  set(
                    event.currentTarget.checked
                      ? [...chosen, choice.value]
                      : chosen.filter((other) => other !== choice.value),
                  )
                }
              />
            ))}
          </Checkbox.Group>
        )
      }
      case 'long':
      case 'json':
        return (
          <Textarea
            {...common}
            key={field.name}
            autosize
            minRows={2}
            maxRows={8}
            value={String(value)}
            onChange={(event) => set(event.currentTarget.value)}
          />
        )
      default:
        return (
          <TextInput
            {...common}
            key={field.name}
            value={String(value)}
            onChange={(event) => set(event.currentTarget.value)}
          />
        )
    }
  })
}
