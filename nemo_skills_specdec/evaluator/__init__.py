"""The NeMo-Skills plugin. In a job, importing it first installs what the job's image lacks."""

from nemo_skills_specdec.evaluator.shipping import complete_job

complete_job()
