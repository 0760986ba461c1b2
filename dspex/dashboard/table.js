// A table whose cells are text and nothing but text. Rows and cells are lists, never keyed by anything from data.
export default {
  props: {
    caption: String,
    columns: Array,
    rows: Array,
    sorted: String,
    descending: Boolean,
    empty: String,
  },
  emits: ["sort"],
  methods: {
    order(column) {
      if (column.name !== this.sorted) return undefined;
      return this.descending ? "descending" : "ascending";
    },
  },
  template: `
    <div class="scroll" role="region" :aria-label="caption" tabindex="0">
      <table>
        <thead>
          <tr>
            <th v-for="column in columns" :key="column.name" scope="col" :class="column.kind" :aria-sort="order(column)">
              <button v-if="column.sortable" type="button" class="sort" @click="$emit('sort', column.name)">{{ column.label }}<span
                class="arrow" aria-hidden="true">{{ column.name === sorted ? (descending ? '↓' : '↑') : '' }}</span></button>
              <template v-else>{{ column.label }}</template>
            </th>
          </tr>
        </thead>
        <tbody>
          <tr v-for="row in rows" :key="row[0]">
            <td v-for="(column, place) in columns" :key="column.name" :class="column.kind" :data-label="column.label">
              <template v-for="cell in [row[place + 1]]">
                <a v-if="cell && cell.to" :href="cell.to">{{ cell.text }}</a>
                <span v-else-if="cell && cell.badge" :class="'badge ' + cell.badge">{{ cell.text }}</span>
                <template v-else>{{ cell }}</template>
              </template>
            </td>
          </tr>
        </tbody>
      </table>
      <p v-if="!rows.length" class="empty">{{ empty }}</p>
    </div>
  `,
};
