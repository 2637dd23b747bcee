// Throughput and dirty rate over time. The numbers stand beside it as text too: a chart is nothing for a screen reader.
import { LineChart } from '@mantine/charts';
import { rate } from '../../lib/format';
import type { Sample } from './stages';

export function TransferChart({ samples }: { samples: readonly Sample[] }) {
  const last = samples.at(-1);
  const data = samples.map(({ at, rate: throughput, dirty }) => ({ at, throughput, dirty }));
  const label = last ? `Throughput ${rate(last.rate)}${last.dirty === null ? '' : `, dirty rate ${rate(last.dirty)}`}` : 'Throughput';
  return (
    <div role="img" aria-label={label}>
      <LineChart
        h={200} data={data} dataKey="at" withDots={false} withLegend legendProps={{ position: 'bottom', height: 28 }} curveType="monotone" strokeWidth={2}
        series={[{ name: 'throughput', label: 'Throughput', color: 'var(--bp-good)' }, { name: 'dirty', label: 'Dirty rate', color: 'var(--bp-warn)' }]}
        valueFormatter={(value) => rate(value)} yAxisProps={{ width: 84 }} xAxisProps={{ type: 'number', domain: ['dataMin', 'dataMax'], tickFormatter: (at: number) => `${Math.round(at)} s` }}
        tooltipAnimationDuration={0} lineProps={{ isAnimationActive: false }} lineChartProps={{ accessibilityLayer: false }}
      />
    </div>
  );
}
