//! `agent pull`: brings a model of the hub to this machine.

mod header;
mod plan;
mod progress;
mod room;

use std::fs;
use std::io;
use std::path::PathBuf;

use anyhow::{Context, Result, bail};

use super::args::Shared;
use super::exit::Exit;
use super::face::sink::{DIM, Sink};
use super::face::words;
use super::fit::Shape;
use super::quantize::Format;
use super::{Failure, kept, quantize, source};
use crate::hub::{Choice, Hub, INDEX, RemoteFile, Repo, Spec, choose, shards};
use crate::llama::convert;
use plan::Plan;
use progress::Bar;
use room::Room;

/// Pulls what is named. Says before a byte moves how much it is and whether it
/// fits, and ends with the model's path on standard output.
///
/// # Errors
/// `NoModel`: it is not there, may not be had, does not fit the disk, or did
/// not arrive.
pub fn run(shared: &Shared, name: &str, remove_source: bool) -> Result<Exit, Failure> {
    let pulled = source::spec(name).and_then(|spec| Pull::new(shared, remove_source)?.model(&spec));
    let path = pulled.map_err(Failure::no_model)?;
    Sink::stdout(shared.face.color).text(&format!("{}\n", path.display()))?;
    Ok(Exit::Answered)
}

/// Who pulls.
pub struct Pull<'a> {
    shared: &'a Shared,
    hub: Hub,
    err: Sink,
    /// Weights that were quantized are removed.
    remove_source: bool,
}

/// A model in half precision that is here.
pub struct Half {
    pub folder: PathBuf,
    /// The files of its weights, inside the repository.
    pub weights: Vec<String>,
}

impl<'a> Pull<'a> {
    /// From the hub that the environment names.
    ///
    /// # Errors
    /// What is in the environment cannot be used.
    pub fn new(shared: &'a Shared, remove_source: bool) -> Result<Self> {
        let (hub, err) = (Hub::from_env()?, Sink::stderr(shared.face.color));
        Ok(Self { shared, hub, err, remove_source })
    }

    /// A repository's half-precision weights, which are to become `format`;
    /// pulled if they are not here.
    ///
    /// # Errors
    /// The repository has none, or they cannot be had.
    pub fn weights(&mut self, spec: &Spec, format: Format) -> Result<Half> {
        match self.choice(spec, None)? {
            Choice::Safetensors { beside, weights } => {
                self.half_precision(spec, &beside, weights, format)
            }
            Choice::Gguf(file) => bail!("{spec} is quantized already, in {file}: pull it as it is"),
        }
    }

    /// Removes weights that were quantized, or says that they are still here.
    ///
    /// # Errors
    /// They cannot be removed.
    pub fn done_with(&mut self, repo: &Repo, weights: &[String]) -> Result<()> {
        let cache = self.hub.cache();
        let mut freed = 0;
        for file in weights.iter().filter(|_| self.remove_source) {
            freed += cache.remove(repo, file)?;
        }
        if freed > 0 {
            let line = format!("removed {} of weights that were downloaded", words::bytes(freed));
            self.err.line(DIM, &line)?;
            return Ok(());
        }
        let paths = weights.iter().filter_map(|file| cache.find(repo, file));
        let bytes = paths.filter_map(|path| Some(path.metadata().ok()?.len())).sum();
        if bytes == 0 {
            return Ok(());
        }
        let line = format!(
            "the {} of weights that were downloaded stay in {}: remove that folder where nothing \
             else needs them, or give --remove-source next time",
            words::bytes(bytes),
            cache.of(repo).display()
        );
        self.err.line(DIM, &line)?;
        Ok(())
    }

    fn model(&mut self, spec: &Spec) -> Result<PathBuf> {
        match self.choice(spec, self.shared.model.quant.as_deref())? {
            Choice::Gguf(file) => self.gguf(spec, &file),
            Choice::Safetensors { beside, weights } => self.safetensors(spec, &beside, weights),
        }
    }

    /// What of the repository is meant. A model that is quantized here has the
    /// quantization that is asked for in no file's name.
    fn choice(&self, spec: &Spec, quant: Option<&str>) -> Result<Choice> {
        if let Some(file) = &spec.file {
            return Ok(Choice::Gguf(file.clone()));
        }
        let files = self.hub.list(&spec.repo)?.files;
        let files: Vec<String> = files.into_iter().map(|(path, _)| path).collect();
        Ok(choose(spec, &files, quant)?)
    }

    fn gguf(&mut self, spec: &Spec, path: &str) -> Result<PathBuf> {
        let file = match self.hub.look(&spec.repo, path) {
            Ok(file) => file,
            // Offline, what is here is what there is.
            Err(error) => match self.hub.cache().find(&spec.repo, path) {
                Some(path) if self.hub.settings().offline => return Ok(path),
                _ => return Err(error.into()),
            },
        };
        let here = self.hub.here(&file);
        let known = match spec.known {
            Some(known) => Some((file.size, Shape::from(known))),
            None => header::read(&self.hub, &file)?,
        };
        if known.is_none() {
            let why = "the hub sends no part of a file alone: what this one says of itself cannot \
                       be read ahead";
            self.err.line(DIM, why)?;
        }
        self.plan(&Plan {
            spec,
            what: path.into(),
            size: file.size,
            here,
            kept: 0,
            weights: known.map_or(file.size, |(weights, _)| weights),
            shape: known.map(|(_, shape)| shape.kept(self.shared.model.cache_type.asked())),
        })?;
        self.fetch(&file)
    }

    /// One quantized file of a model in half precision, which is kept.
    fn safetensors(
        &mut self,
        spec: &Spec,
        beside: &[String],
        weights: Vec<String>,
    ) -> Result<PathBuf> {
        let repo = &spec.repo;
        let quant = self.shared.model.quant.as_deref().unwrap_or(kept::QUANTS[0]);
        let format = quantize::format(quant)?;
        let kept = kept::place(repo, &quant.to_ascii_lowercase());
        let kept = kept.context("this user has no cache folder to keep the quantized model in")?;
        if kept.is_file() {
            if self.remove_source {
                self.done_with(repo, &weights)?;
            }
            return Ok(kept);
        }
        let half = self.half_precision(spec, beside, weights, format)?;
        if let Some(parent) = kept.parent() {
            fs::create_dir_all(parent)
                .with_context(|| format!("cannot make {}", parent.display()))?;
        }
        quantize::write(self.shared, &half.folder, format, &kept)?;
        self.done_with(repo, &half.weights)?;
        Ok(kept)
    }

    /// A model in half precision. What describes the model comes
    /// first, because it says which weights there are; then the weights, a file
    /// at a time.
    fn half_precision(
        &mut self,
        spec: &Spec,
        beside: &[String],
        mut weights: Vec<String>,
        format: Format,
    ) -> Result<Half> {
        let repo = &spec.repo;
        if self.hub.settings().offline {
            bail!("{spec} is not here quantized, and HF_HUB_OFFLINE is set");
        }
        let mut folder = None;
        for path in beside {
            let at = self.fetch(&self.hub.look(repo, path)?)?;
            if path == INDEX {
                let text = fs::read_to_string(&at).context("cannot read the index of weights")?;
                weights = shards(&text).map_err(|why| anyhow::anyhow!("{repo}: {INDEX}: {why}"))?;
            }
            folder = at.parent().map(PathBuf::from);
        }
        let folder = folder.context("nothing describes this model")?;
        let shape = convert::Config::read(&folder)
            .map(|config| Shape::from(&config))
            .with_context(|| format!("{repo} was not downloaded"))?;
        let files: Result<Vec<RemoteFile>, _> =
            weights.iter().map(|path| self.hub.look(repo, path)).collect();
        let files = files?;
        let size = files.iter().map(|file| file.size).sum();
        // Half precision has 16 bits a weight; the smaller matrices' share is little.
        let quantized = (size as f64 * quantize::bits(format) / 16.0) as u64;
        self.plan(&Plan {
            spec,
            what: format!("{} of half-precision weights", words::plural(files.len(), "file")),
            size,
            here: files.iter().map(|file| self.hub.here(file)).sum(),
            kept: quantized,
            weights: quantized,
            shape: Some(shape.kept(self.shared.model.cache_type.asked())),
        })?;
        for file in &files {
            self.fetch(file)?;
        }
        Ok(Half { folder, weights })
    }

    /// Says what is about to happen.
    fn plan(&mut self, plan: &Plan) -> Result<()> {
        let room = Room::here(self.hub.cache().folder());
        for line in plan.lines(&room, self.shared.model.context) {
            self.err.line(DIM, &line)?;
        }
        match plan.short_of_disk(&room) {
            Some(why) => bail!(why),
            None => Ok(()),
        }
    }

    fn fetch(&mut self, file: &RemoteFile) -> Result<PathBuf> {
        let mut bar = Bar::new(&file.path, file.size);
        let mut shown: io::Result<()> = Ok(());
        let err = &mut self.err;
        let path = self.hub.fetch(file, &mut |event| {
            if shown.is_ok() {
                shown = bar.show(event, err);
            }
        });
        bar.clear(err)?;
        Ok(path?)
    }
}
