// A field for a file, which is sent as it is chosen. The server answers with a name for it.
export default {
  props: { label: String, accept: String, address: String },
  emits: ["sent"],
  data: () => ({ said: "" }),
  methods: {
    async send(event) {
      const [file] = event.target.files;
      if (!file) return;
      this.said = "sending…";
      try {
        const answer = await fetch(`${this.address}?name=${encodeURIComponent(file.name)}`, { method: "POST", body: file });
        if (answer.ok) {
          this.$emit("sent", await answer.text());
          this.said = "";
        } else {
          this.said = answer.status === 413 ? "That file is too large." : `It was refused: ${await answer.text()}`;
        }
      } catch {
        this.said = "It could not be sent: the dashboard does not answer, or the file is too large.";
      }
    },
  },
  template: `
    <div class="field">
      <label :for="$.uid + '-file'">{{ label }}</label>
      <input :id="$.uid + '-file'" type="file" :accept="accept" @change="send">
      <small class="soft" role="status">{{ said }}</small>
    </div>
  `,
};
