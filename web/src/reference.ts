// `/api/docs`: the OpenAPI document as a page on which every route can be tried. Served by the panel, asks nobody else.
import 'swagger-ui-dist/swagger-ui.css';
import './reference.css';
import bundle from 'swagger-ui-dist/swagger-ui-es-bundle.js';

bundle({
  url: '/api/v1/openapi.json',
  dom_id: '#reference',
  deepLinking: true,
  docExpansion: 'list',
  filter: true,
  tryItOutEnabled: false,
  // No word to validators elsewhere.
  validatorUrl: null,
});
