// Admin > Transfers > (transfer): the same view as on the server's tab, for any transfer of the past or now.
import { Button } from '@mantine/core';
import { Link, useParams } from 'react-router';
import { useTransfer } from '../../api/queries';
import { Actor, Loaded, PageHeader } from '../../components/bits';
import { TransferStatus } from '../../components/status';
import { moment } from '../../lib/format';
import { useServerNames } from './names';
import { TransferView } from './view';

export default function TransferPage() {
  const { id = '' } = useParams();
  const query = useTransfer(id);
  const name = useServerNames(query.data ? [query.data.server_id] : []);
  return (
    <Loaded query={query}>
      {(transfer) => (
        <>
          <PageHeader title={`Migration of ${name(transfer.server_id)}`} badge={<TransferStatus value={transfer.state} />} crumb={{ label: 'Transfers', to: '/admin/transfers' }}
            actions={<Button variant="default" component={Link} to={`/admin/servers/${transfer.server_id}/transfer`}>Open the server</Button>}>
            Asked for by <Actor of={transfer.requested_by} /> on {moment(transfer.created_at)}
          </PageHeader>
          <TransferView transfer={transfer} />
        </>
      )}
    </Loaded>
  );
}
