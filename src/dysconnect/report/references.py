"""The papers that the methods cite."""

# short name in the text: full reference
REFERENCES = {
    "Abraham et al. 2014": "Abraham A, et al. Machine learning for neuroimaging with scikit-learn. Front Neuroinform "
    "2014;8:14. doi:10.3389/fninf.2014.00014",
    "Baggio et al. 2018": "Baggio HC, et al. Statistical inference in brain graphs using threshold-free network-based "
    "statistics. Hum Brain Mapp 2018;39:2289-2302. doi:10.1002/hbm.24007",
    "Barachant et al. 2010": "Barachant A, Bonnet S, Congedo M, Jutten C. Riemannian geometry applied to BCI "
    "classification. LVA/ICA 2010, LNCS 6365:629-636. doi:10.1007/978-3-642-15995-4_78",
    "Behzadi et al. 2007": "Behzadi Y, Restom K, Liau J, Liu TT. A component based noise correction method (CompCor) "
    "for BOLD and perfusion based fMRI. NeuroImage 2007;37:90-101. doi:10.1016/j.neuroimage.2007.04.042",
    "Benjamini and Hochberg 1995": "Benjamini Y, Hochberg Y. Controlling the false discovery rate: a practical and "
    "powerful approach to multiple testing. J R Stat Soc B 1995;57:289-300. doi:10.1111/j.2517-6161.1995.tb02031.x",
    "Blain et al. 2022": "Blain A, Thirion B, Neuvial P. Notip: non-parametric true discovery proportion control for "
    "brain imaging. NeuroImage 2022;260:119492. doi:10.1016/j.neuroimage.2022.119492",
    "Bouckaert and Frank 2004": "Bouckaert RR, Frank E. Evaluating the replicability of significance tests for "
    "comparing learning algorithms. PAKDD 2004. doi:10.1007/978-3-540-24775-3_3",
    "Ciric et al. 2017": "Ciric R, et al. Benchmarking of participant-level confound regression strategies for the "
    "control of motion artifact in studies of functional connectivity. NeuroImage 2017;154:174-187. "
    "doi:10.1016/j.neuroimage.2017.03.020",
    "Cortes and Vapnik 1995": "Cortes C, Vapnik V. Support-vector networks. Mach Learn 1995;20:273-297. "
    "doi:10.1007/BF00994018",
    "Cui et al. 2023": "Cui H, et al. BrainGB: a benchmark for brain network analysis with graph neural networks. "
    "IEEE Trans Med Imaging 2023;42:493-506. doi:10.1109/TMI.2022.3218745",
    "Dinga et al. 2020": "Dinga R, Schmaal L, Penninx BWJH, Veltman DJ, Marquand AF. Controlling for effects of "
    "confounding variables on machine learning predictions. bioRxiv 2020. doi:10.1101/2020.08.17.255034",
    "Adebayo et al. 2018": "Adebayo J, et al. Sanity checks for saliency maps. NeurIPS 2018. "
    "doi:10.48550/arXiv.1810.03292",
    "Avants et al. 2011": "Avants BB, et al. A reproducible evaluation of ANTs similarity metric performance in brain "
    "image registration. NeuroImage 2011;54:2033-2044. doi:10.1016/j.neuroimage.2010.09.025",
    "Esteban et al. 2019": "Esteban O, et al. fMRIPrep: a robust preprocessing pipeline for functional MRI. "
    "Nat Methods 2019;16:111-116. doi:10.1038/s41592-018-0235-4",
    "Fey and Lenssen 2019": "Fey M, Lenssen JE. Fast graph representation learning with PyTorch Geometric. "
    "doi:10.48550/arXiv.1903.02428",
    "Genovese et al. 2006": "Genovese CR, Roeder K, Wasserman L. False discovery control with p-value weighting. "
    "Biometrika 2006;93:509-524. doi:10.1093/biomet/93.3.509",
    "Golub et al. 1979": "Golub GH, Heath M, Wahba G. Generalized cross-validation as a method for choosing a good "
    "ridge parameter. Technometrics 1979;21:215-223. doi:10.1080/00401706.1979.10489751",
    "Gu et al. 2015": "Gu S, et al. Controllability of structural brain networks. Nat Commun 2015;6:8414. "
    "doi:10.1038/ncomms9414",
    "Hanley and McNeil 1982": "Hanley JA, McNeil BJ. The meaning and use of the area under a receiver operating "
    "characteristic (ROC) curve. Radiology 1982;143:29-36. doi:10.1148/radiology.143.1.7063747",
    "Haufe et al. 2014": "Haufe S, et al. On the interpretation of weight vectors of linear models in multivariate "
    "neuroimaging. NeuroImage 2014;87:96-110. doi:10.1016/j.neuroimage.2013.10.067",
    "Hou et al. 2022": "Hou Z, et al. GraphMAE: self-supervised masked graph autoencoders. KDD 2022. "
    "doi:10.48550/arXiv.2205.10803",
    "Johnson et al. 2007": "Johnson WE, Li C, Rabinovic A. Adjusting batch effects in microarray expression data "
    "using empirical Bayes methods. Biostatistics 2007;8:118-127. doi:10.1093/biostatistics/kxj037",
    "Kipf and Welling 2017": "Kipf TN, Welling M. Semi-supervised classification with graph convolutional networks. "
    "ICLR 2017. doi:10.48550/arXiv.1609.02907",
    "Ledoit and Wolf 2004": "Ledoit O, Wolf M. A well-conditioned estimator for large-dimensional covariance matrices. "
    "J Multivar Anal 2004;88:365-411. doi:10.1016/S0047-259X(03)00096-4",
    "Li et al. 2018": "Li F, Morgan KL, Zaslavsky AM. Balancing covariates via propensity score weighting. J Am Stat "
    "Assoc 2018;113:390-400. doi:10.1080/01621459.2016.1260466",
    "Lindquist et al. 2019": "Lindquist MA, Geuter S, Wager TD, Caffo BS. Modular preprocessing pipelines can "
    "reintroduce artifacts into fMRI data. Hum Brain Mapp 2019;40:2358-2376. doi:10.1002/hbm.24528",
    "Loshchilov and Hutter 2019": "Loshchilov I, Hutter F. Decoupled weight decay regularization. ICLR 2019. "
    "doi:10.48550/arXiv.1711.05101",
    "Meinshausen et al. 2009": "Meinshausen N, Meier L, Bühlmann P. p-values for high-dimensional regression. J Am "
    "Stat Assoc 2009;104:1671-1681. doi:10.1198/jasa.2009.tm08647",
    "Meinshausen and Bühlmann 2010": "Meinshausen N, Bühlmann P. Stability selection. J R Stat Soc B "
    "2010;72:417-473. doi:10.1111/j.1467-9868.2010.00740.x",
    "Mölder et al. 2021": "Mölder F, et al. Sustainable data analysis with Snakemake. F1000Research 2021;10:33. "
    "doi:10.12688/f1000research.29032.2",
    "Nadeau and Bengio 2003": "Nadeau C, Bengio Y. Inference for the generalization error. Machine Learning "
    "2003;52:239-281. doi:10.1023/A:1024068626366",
    "Nichols and Holmes 2002": "Nichols TE, Holmes AP. Nonparametric permutation tests for functional neuroimaging: a "
    "primer with examples. Hum Brain Mapp 2002;15:1-25. doi:10.1002/hbm.1058",
    "Scheinost 2020": "Noble S, Scheinost D. The constrained network-based statistic: a new level of inference for "
    "neuroimaging. MICCAI 2020, LNCS 12267",
    "Nogueira et al. 2018": "Nogueira S, Sechidis K, Brown G. On the stability of feature selection algorithms. J Mach "
    "Learn Res 2018;18(174):1-54.",
    "Parkes et al. 2018": "Parkes L, Fulcher B, Yücel M, Fornito A. An evaluation of the efficacy, reliability, and "
    "sensitivity of motion correction strategies for resting-state functional MRI. NeuroImage 2018;171:415-436. "
    "doi:10.1016/j.neuroimage.2017.12.073",
    "Paszke et al. 2019": "Paszke A, et al. PyTorch: an imperative style, high-performance deep learning library. "
    "doi:10.48550/arXiv.1912.01703",
    "Pedregosa et al. 2011": "Pedregosa F, et al. Scikit-learn: machine learning in Python. J Mach Learn Res "
    "2011;12:2825-2830.",
    "Phipson and Smyth 2010": "Phipson B, Smyth GK. Permutation p-values should never be zero. Stat Appl Genet "
    "Mol Biol 2010;9:39. doi:10.2202/1544-6115.1585",
    "Platt 1999": "Platt JC. Probabilistic outputs for support vector machines and comparisons to regularized "
    "likelihood methods. In: Advances in Large Margin Classifiers. MIT Press 1999:61-74.",
    "Power et al. 2012": "Power JD, Barnes KA, Snyder AZ, Schlaggar BL, Petersen SE. Spurious but systematic "
    "correlations in functional connectivity MRI networks arise from subject motion. NeuroImage 2012;59:2142-2154. "
    "doi:10.1016/j.neuroimage.2011.10.018",
    "Power et al. 2014": "Power JD, et al. Methods to detect, characterize, and remove motion artifact in resting "
    "state fMRI. NeuroImage 2014;84:320-341. doi:10.1016/j.neuroimage.2013.08.048",
    "Satterthwaite et al. 2013": "Satterthwaite TD, et al. An improved framework for confound regression and filtering "
    "for control of motion artifact in the preprocessing of resting-state functional connectivity data. NeuroImage "
    "2013;64:240-256. doi:10.1016/j.neuroimage.2012.08.052",
    "Van Calster et al. 2016": "Van Calster B, et al. A calibration hierarchy for risk models was defined: from utopia "
    "to empirical data. J Clin Epidemiol 2016;74:167-176. doi:10.1016/j.jclinepi.2015.12.005",
    "Sundararajan et al. 2017": "Sundararajan M, Taly A, Yan Q. Axiomatic attribution for deep networks. ICML 2017. "
    "doi:10.48550/arXiv.1703.01365",
    "Tomioka and Mueller 2010": "Tomioka R, Mueller KR. A regularized discriminative framework for EEG analysis with "
    "application to brain-computer interface. NeuroImage 2010;49:415-432. doi:10.1016/j.neuroimage.2009.07.045",
    "Varoquaux et al. 2010": "Varoquaux G, Baronnet F, Kleinschmidt A, Fillard P, Thirion B. Detection of brain "
    "functional-connectivity difference in post-stroke patients using group-level covariance modeling. MICCAI 2010. "
    "doi:10.1007/978-3-642-15705-9_25",
    "Winkler et al. 2014": "Winkler AM, Ridgway GR, Webster MA, Smith SM, Nichols TE. Permutation inference for the "
    "general linear model. NeuroImage 2014;92:381-397. doi:10.1016/j.neuroimage.2014.01.060",
    "Young 1993": "Westfall PH, Young SS. Resampling-based multiple testing: examples and methods for p-value "
    "adjustment. Wiley 1993.",
    "Zalesky et al. 2010": "Zalesky A, Fornito A, Bullmore ET. Network-based statistic: identifying differences in "
    "brain networks. NeuroImage 2010;53:1197-1207. doi:10.1016/j.neuroimage.2010.06.041",
    "Zou and Hastie 2005": "Zou H, Hastie T. Regularization and variable selection via the elastic net. J R Stat Soc B "
    "2005;67:301-320. doi:10.1111/j.1467-9868.2005.00503.x",
}


def references(paragraphs: list[tuple[str, str]]) -> list[str]:
    """List the full references that the paragraphs cite, by name."""
    text = " ".join(paragraph for _, paragraph in paragraphs)
    return [full for short, full in REFERENCES.items() if short in text]
